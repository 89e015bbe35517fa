"""Weights of published networks: find their files, and check the tensors' names and shapes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..folders import download

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def weight_files(source: str | Path, remedy: str) -> list[Path]:
    """Return the files of weights that `source` names: one file, those of a folder, or those of `hub:owner/name`.

    Raises:
        ValueError: with the remedy, if there are none.
    """
    text = str(source)
    if text.startswith("hub:"):
        root = download(text.removeprefix("hub:"), [f"*{suffix}" for suffix in SUFFIXES])
    else:
        root = Path(source).expanduser()
    files = [root] if root.is_file() else sorted(file for file in root.glob("*") if file.suffix in SUFFIXES)
    if not files:
        raise ValueError(f"no weights at {source}: {remedy}")
    return files


def read_weights(
    source: str | Path,
    shapes: Mapping[str, tuple[int, ...]],
    network: str,
    remedy: str,
    rename: Callable[[str], str] = lambda name: name,
    others: Literal["ignore", "refuse"] = "ignore",
) -> dict[str, Tensor]:
    """Return the tensors of these names and shapes in float32, from all files of `source` together.

    Files are safetensors, or state dicts that torch.load(weights_only=True) opens. rename: from a name in a file to one
    of `shapes`. others: what to do with tensors of other names.

    Raises:
        ValueError: if a file cannot be read, two of them disagree, or a tensor is missing, of another shape or refused;
            names the `network` and the remedy.
    """
    weights: dict[str, Tensor] = {}
    unknown: list[str] = []
    for file in weight_files(source, remedy):
        for name, tensor in _read(file).items():
            name = rename(name)
            if name in weights and not torch.equal(weights[name], tensor):
                raise ValueError(f"{file} and another file of {source} disagree on {name}: keep one of them there")
            if name in shapes:
                weights[name] = tensor
            else:
                unknown.append(name)
    if absent := [name for name in shapes if name not in weights]:
        raise ValueError(
            f"{source} lacks {len(absent)} of {len(shapes)} tensors of {network}, first {absent[0]}: {remedy}"
        )
    for name, tensor in weights.items():
        if tensor.shape != shapes[name]:
            raise ValueError(
                f"{source}: {name} is {tuple(tensor.shape)}, {network} has {tuple(shapes[name])}; these are weights of "
                f"another network: {remedy}"
            )
    if unknown and others == "refuse":
        raise ValueError(f"{source} has {len(unknown)} tensors that {network} has not, first {unknown[0]}: {remedy}")
    return {name: tensor.float() for name, tensor in weights.items()}


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    except Exception as error:
        # Every way for a file to be damaged or to hold more than tensors has its own kind of exception.
        raise ValueError(f"{file} is neither safetensors nor a plain state dict of tensors") from error
