"""Checkpoints: the state of a computation that goes on later, in a folder with its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .atomic import write_folder_atomically
from .manifest import verify_own_folder

STATE = "state.pt"


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state to a folder, atomically.

    Raises:
        OSError, RuntimeError: what `explain_write_errors` explains.
    """

    def write(partial: Path) -> None:
        with (partial / STATE).open("wb") as stream:  # by its name, torch would not say why it fails
            torch.save(dict(state), stream)

    write_folder_atomically(folder, write)


def read_checkpoint(folder: Path, remedy: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the state in a folder, compared with its manifest.

    Raises:
        ValueError: naming the file and the remedy, where it is not what was written.
    """
    verify_own_folder(folder, remedy)
    try:
        state: dict[str, Any] = torch.load(folder / STATE, map_location=device, weights_only=True)
    except Exception as error:  # written by another version of torch: its parsers raise their own
        raise ValueError(f"{folder / STATE} cannot be read ({type(error).__name__}); {remedy}") from error
    return state
