"""Samplers by name, their time grids, and the number of evaluations that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dpm_solver import dpm_solver
from .path import Path
from .solvers import Sampler, euler, euler_maruyama, heun
from .times import shifted

if TYPE_CHECKING:
    from jaxtyping import Float

SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "euler_maruyama": euler_maruyama,
    "dpm_solver": dpm_solver,
}


def time_grid(path: Path, n_steps: int, shift: float = 1.0) -> Float[Tensor, " n"]:
    """Return times from the largest t of `path.ends` down to 0, (n_steps + 1,) float64 on the CPU, for any sampler.

    Equal steps, warped by `times.shifted`: a shift above 1 spends more of them where there is more noise.
    """
    if n_steps < 1:
        raise ValueError(f"sampling needs at least one step, got {n_steps}")
    if not shift > 0:
        raise ValueError(f"expected a positive shift, got {shift}")
    return path.ends[1] * shifted(torch.linspace(1, 0, n_steps + 1, dtype=torch.float64), shift)


def evaluations(name: str, n_steps: int) -> int:
    """Return the number of evaluations of a sampler on a grid of `n_steps` steps down to 0."""
    return len(evaluation_times(name, torch.linspace(1, 0, n_steps + 1)))


def evaluation_times(name: str, times: Float[Tensor, " n"]) -> list[float]:
    """Return the t at which a sampler evaluates the network, in order, on times (n_steps + 1,)."""
    starts, stops = times[:-1].tolist(), times[1:].tolist()
    if name != "heun":
        return starts
    return [t for pair in zip(starts, stops, strict=True) for t in pair if t > 0]
