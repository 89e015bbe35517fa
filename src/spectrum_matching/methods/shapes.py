"""What losses and transforms may be given: fields (b, c, h, w) on a grid, or sequences along an axis that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

Grid = tuple[int, ...]
"""The sides of latents: (h, w), or (n,) of sequences."""

SEQUENCES = "for sequences say their axis: SpectralMask(axis=...), ESM(axis=...)"


def require_number(**values: object) -> None:
    """Raise ValueError for what is no finite number, such as one in quotes."""
    for name, value in values.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}: expected a finite number")


def require_wholes(**values: object) -> None:
    """Raise ValueError for what is no sequence of whole numbers, such as a single one."""
    for name, value in values.items():
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else (None,)
        if not all(isinstance(each, Integral) for each in several):
            example = f", such as {name}=({value},)" if isinstance(value, Integral) else ""
            raise ValueError(f"{name} is {value!r}: expected a sequence of whole numbers{example}")


def require_whole(**values: object) -> None:
    """Raise ValueError for what is no whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise ValueError(f"{name} is {value!r}: expected a whole number")


def require_generator(generator: object) -> None:
    """Raise ValueError for what is no torch.Generator, such as None."""
    if not isinstance(generator, torch.Generator):
        remedy = "give a torch.Generator, such as torch.Generator().manual_seed(0)"
        raise ValueError(f"generator is {generator!r}, but transforms and latents are sampled from it: {remedy}")


def require_tensor(x: object) -> None:
    """Raise ValueError for what is no tensor, such as a posterior."""
    if not isinstance(x, Tensor):
        raise ValueError(
            f"expected latents or images, got {type(x).__name__}: of a posterior give a sample or the mean"
        )


def require_plane(grid: Grid) -> None:
    """Raise ValueError unless a grid is (h, w)."""
    if len(grid) != 2:
        raise ValueError(f"expected a latent grid (h, w), got {tuple(grid)}; {SEQUENCES}")


def require_field(x: Tensor, grid: Grid | None) -> None:
    """Raise ValueError unless x is (b, c, h, w), where a grid is given on it or on a whole multiple of it."""
    require_tensor(x)
    if x.ndim < 4:
        raise ValueError(f"expected latents or images (b, c, h, w), got {tuple(x.shape)}; {SEQUENCES}")
    if grid is not None:
        factor = max(x.shape[-2] // grid[0], 1)
        if tuple(x.shape[-2:]) != (factor * grid[0], factor * grid[1]):
            what = f"a transform for latents of {grid[0]} x {grid[1]}, or a whole multiple of it"
            raise ValueError(f"{what}, was given (b, c, h, w) = {tuple(x.shape)}: sample it for the latents' own grid")


def require_sequences(x: Tensor, axis: int) -> None:
    """Raise ValueError unless x is (b, n), (b, c, n) or (b, n, d), and the axis is none of the batch."""
    require_tensor(x)
    if x.ndim not in (2, 3) or not 0 < (axis + x.ndim if axis < 0 else axis) < x.ndim:
        raise ValueError(f"expected sequences (b, c, n) or (b, n, d) along axis {axis}, got {tuple(x.shape)}")
