"""Build denoisers of the published sizes by name, and open those that were saved."""

import difflib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ...files.manifest import verify_folder
from ..folders import CONFIG, load_folder, read_config

if TYPE_CHECKING:
    from .transformer import PatchTransformer


def _size(width: int, depth: int, heads: int, **others: Any) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, **others}


# S to XL: SiT, table 1 (arXiv 2401.08740); S to H: U-ViT, table 1 (arXiv 2209.12152), of which H on latents has no
# final convolution. `micro` and `tiny` are sized for two CPU cores.
SMALL = {"micro": _size(128, 4, 4), "tiny": _size(192, 6, 3)}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "SiT": {
        **SMALL,
        "S": _size(384, 12, 6),
        "B": _size(768, 12, 12),
        "L": _size(1024, 24, 16),
        "XL": _size(1152, 28, 16),
    },
    "UViT": {
        **SMALL,
        "S": _size(512, 12, 8),
        "S-deep": _size(512, 16, 8),
        "M": _size(768, 16, 12),
        "L": _size(1024, 20, 16),
        "H": _size(1152, 28, 16, conv=False),
    },
}


def build_denoiser(
    name: str,
    channels: int,
    grid: tuple[int, int],
    n_classes: int = 0,
    seed: int = 0,
    device: Literal["cpu", "meta"] = "cpu",
    **overrides: Any,
) -> "PatchTransformer":
    """Build a new denoiser of latents (b, channels, *grid) on the CPU, or its shapes alone on "meta".

    name: network, size and patch, such as "SiT-B/2" or "UViT-S/1". n_classes 0: without labels. overrides: arguments of
    `SiT` or `UViT` in place of the size's. The weights depend on the seed alone.

    Raises:
        ValueError: for an unknown name or override, naming the nearest, and for sizes that do not fit.
    """
    family, size, patch = _parse(name)
    network = _class(family)
    allowed = set(inspect.signature(network).parameters) - {"channels", "grid", "patch", "n_classes"}
    if unknown := set(overrides) - allowed:
        raise ValueError(f"{name} has no setting {min(unknown)!r}: its settings are {', '.join(sorted(allowed))}")
    sizes = {**SIZES[family][size], **overrides}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        built: PatchTransformer = network(channels=channels, grid=grid, patch=patch, n_classes=n_classes, **sizes)
    return built


def n_blocks(name: str, depth: int | None = None) -> int:
    """Return the number of blocks of the denoiser of this name, at its own or another depth.

    Raises:
        ValueError: for an unknown name.
    """
    family, size, _ = _parse(name)
    depth = SIZES[family][size]["depth"] if depth is None else depth
    return depth + 1 if family == "UViT" else depth  # U-ViT's middle block belongs to neither half


def open_denoiser(folder: str | Path) -> "PatchTransformer":
    """Open a denoiser that save_pretrained wrote to a folder, in float32 and eval mode on the CPU.

    Nothing is unpickled.

    Raises:
        ValueError: with the remedy, for a folder without a denoiser or with damaged files.
    """
    folder = Path(folder).expanduser()
    if not (folder / CONFIG).is_file():
        raise ValueError(f"no {CONFIG} in {folder}: give the folder to which a denoiser was exported")
    verify_folder(folder)
    kind = str(read_config(folder / CONFIG).get("_class_name"))
    if kind not in SIZES:
        raise ValueError(f"{folder} holds {kind}, which is no denoiser: expected one of {', '.join(SIZES)}")
    network: PatchTransformer = load_folder(_class(kind), folder, strict=True)
    return network


def _parse(name: str) -> tuple[str, str, int]:
    parts = re.fullmatch(r"(\w+)-(.+)/([1-9]\d*)", name)
    if parts is not None and parts[2] in SIZES.get(parts[1], {}):
        return parts[1], parts[2], int(parts[3])
    known = [f"{family}-{size}/{patch}" for family, sizes in SIZES.items() for size in sizes for patch in (1, 2, 4)]
    near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
    raise ValueError(f"no denoiser {name!r}: near it are {near} (a network, its size, and the side of its patches)")


def _class(family: str) -> Any:
    from .sit import SiT
    from .uvit import UViT

    return {"SiT": SiT, "UViT": UViT}[family]


def token_grid(denoiser: nn.Module) -> tuple[int, int]:
    """Return the grid (h, w) of the tokens of its blocks."""
    config: Any = denoiser.config
    return config.grid[0] // config.patch, config.grid[1] // config.patch


def n_classes_of(denoiser: nn.Module) -> int:
    """Return the number of classes, 0 for a denoiser without labels."""
    config: Any = denoiser.config
    return int(config.n_classes)
