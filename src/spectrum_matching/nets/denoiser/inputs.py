"""Checks of the sizes and inputs of denoisers."""

from typing import Protocol

import torch
from torch import Tensor


def check_sizes(
    channels: int, grid: tuple[int, int], patch: int, width: int, depth: int, heads: int, n_classes: int
) -> None:
    """Check the sizes of a network.

    Raises:
        ValueError: naming those of which no network can be built, and what is expected.
    """
    if len(grid) != 2 or min(*grid, channels, patch, depth, heads, width) < 1:
        raise ValueError(
            f"channels {channels}, grid {tuple(grid)}, patch {patch}, width {width}, depth {depth} and heads {heads}: "
            f"expected (h, w) as the grid, and every size to be at least 1"
        )
    if grid[0] % patch or grid[1] % patch:
        raise ValueError(
            f"a grid of {grid[0]} × {grid[1]} is not divisible into patches of {patch}: choose another denoiser"
        )
    if width % heads or width % 4:
        raise ValueError(f"width {width} with {heads} heads: expected a multiple of the heads and of 4")
    if n_classes < 0:
        raise ValueError(f"n_classes is {n_classes}: expected the number of classes, or 0 for a network without")


class Sizes(Protocol):
    """The sizes of a network on which its inputs depend."""

    channels: int
    grid: tuple[int, int]
    n_classes: int
    n_blocks: int


def check_inputs(network: Sizes, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None) -> None:
    """Check what a denoiser is called with.

    Values of labels are checked on the CPU alone and not under torch.compile, since an accelerator would have to
    synchronise: there, a network without classes ignores labels, and an id out of range fails in the lookup.

    Raises:
        ValueError: in one line, for inputs that do not fit the network.
    """
    channels, grid, n_classes, n_blocks = network.channels, network.grid, network.n_classes, network.n_blocks
    if noisy.ndim != 4 or tuple(noisy.shape[1:]) != (channels, *grid):
        raise ValueError(f"latents are {tuple(noisy.shape)}; this denoiser takes (b, {channels}, {grid[0]}, {grid[1]})")
    if t.shape != noisy.shape[:1]:
        raise ValueError(f"t is {tuple(t.shape)}; expected one time for each of {len(noisy)} latents, ({len(noisy)},)")
    if tap is not None and not 1 <= tap <= n_blocks:
        raise ValueError(f"tap {tap}: this denoiser has {n_blocks} blocks, so give 1 to {n_blocks}, or None")
    if labels is None:
        return
    if labels.shape != noisy.shape[:1]:
        raise ValueError(f"labels are {tuple(labels.shape)}; expected one for each of {len(noisy)} latents")
    if labels.is_cpu and not torch.compiler.is_compiling():
        lowest, highest = (int(bound) for bound in labels.aminmax()) if len(labels) else (-1, -1)
        if lowest < -1 or highest >= n_classes:
            known = f"0 to {n_classes - 1}, or −1 for no label" if n_classes else "−1 or None: it knows no classes"
            raise ValueError(f"labels go from {lowest} to {highest}; this denoiser takes {known}")
