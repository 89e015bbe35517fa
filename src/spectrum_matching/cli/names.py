"""Names on the command line: of autoencoders and other sources, and of devices."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ..latents.open_latents import CACHED
from ..nets.python_files import PREFIX
from ..processes import usable_device

# Names of folders that tell what is in them, not where it comes from.
ANONYMOUS = {"export", "vae"}


def named_sources(entries: Sequence[str]) -> dict[str, str]:
    """Return sources by name: NAME of NAME=SOURCE, or as much of the end of a path as makes it unique.

    Raises:
        ValueError: when there is no entry, or two have the same name.
    """
    if not entries:
        raise ValueError("no autoencoder was given: name folders, hub names or NAME=FOLDER")
    pairs = []
    for entry in entries:
        name, _, source = entry.partition("=")
        pairs.append((name, source) if name and source and not Path(entry).exists() else ("", entry))
    paths = [_distinctive_parts(source) for _, source in pairs]
    for depth in range(1, max(map(len, paths)) + 1):
        ends = ("/".join(path[-depth:]).replace("//", "/") for path in paths)
        names = [name or end for (name, _), end in zip(pairs, ends, strict=True)]
        if len(set(names)) == len(names):
            return {name: source for name, (_, source) in zip(names, pairs, strict=True)}
    duplicate = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"{duplicate} was given twice; name each as NAME=FOLDER")


def _distinctive_parts(source: str) -> list[str]:
    """Return the parts of a path that can name it; the name of a factory comes last, if it opens no folder."""
    factory: list[str] = []
    if source.startswith(PREFIX) and "@" in source:
        source = source.partition("@")[2]
    elif source.startswith(PREFIX):
        source, _, name = source.removeprefix(PREFIX).rpartition(":")
        factory = [name]
    path = Path(source.removeprefix(CACHED))
    path = path.with_suffix("") if path.suffix in (".py", ".safetensors") else path
    return [*(part for part in path.parts if part not in ANONYMOUS), *factory] or [source]


def chosen_device(name: str) -> torch.device:
    """Return a device by name; "auto" is a CUDA device if there is one.

    Raises:
        ValueError: when the device cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return usable_device(name)
