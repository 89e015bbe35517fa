"""What must hold of the machine before a verb does any work."""

from pathlib import Path
from tempfile import TemporaryFile

import torch


def chosen_device(name: str) -> torch.device:
    """ "auto": an accelerator of CUDA's where there is one. ValueError for a device that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({why}); cpu always can") from error


def require_writable(folder: Path) -> None:
    """Make the folder, and write to it; ValueError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error
