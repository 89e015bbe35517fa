"""Autoencoders side by side: their names, and the images on which all of them may be measured."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..latents.dataset import CACHED
from ..nets.python_files import PREFIX

# Folders that say what lies in them, not whose it is.
ANONYMOUS = {"export", "vae"}


def named_sources(entries: Sequence[str]) -> dict[str, str]:
    """Folders and hub names under names of their own: NAME of NAME=SOURCE, or as much of a path's end as tells apart.

    ValueError when there are none, or when one name is given twice.
    """
    if not entries:
        raise ValueError("no autoencoder was given: name folders, hub names or NAME=FOLDER")
    pairs = [_split_name(entry) for entry in entries]
    paths = [_telling_parts(source) for _, source in pairs]
    for depth in range(1, max(map(len, paths)) + 1):
        names = [
            name or "/".join(path[-depth:]).replace("//", "/") for (name, _), path in zip(pairs, paths, strict=True)
        ]
        if len(set(names)) == len(names):
            return {name: source for name, (_, source) in zip(names, pairs, strict=True)}
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"{twice} was given twice; tell them apart as NAME=FOLDER")


def _telling_parts(source: str) -> list[str]:
    """A path's parts without what says nothing of whose it is; a factory's name comes last."""
    factory: list[str] = []
    if source.startswith(PREFIX):
        source, _, name = source.removeprefix(PREFIX).rpartition(":")
        factory = [name]
    path = Path(source.removeprefix(CACHED))
    path = path.with_suffix("") if path.suffix in (".py", ".safetensors") else path
    return [*(part for part in path.parts if part not in ANONYMOUS), *factory] or [source]


def _split_name(entry: str) -> tuple[str, str]:
    name, equals, source = entry.partition("=")
    return (name, source) if equals and name and source and not Path(entry).exists() else ("", entry)


def chosen_device(name: str) -> torch.device:
    """ "auto": an accelerator of CUDA's where there is one. ValueError for a device that cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({why}); cpu always can") from error
