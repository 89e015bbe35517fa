"""Solvers from noise to data along a grid of times, of one signature: (predict, path, noise, times, draw) → data.

predict: asked for what `path.prediction` names. noise (b, c, h, w): the state at times[0], float32 or float64, in which
the integration runs. times (n_steps + 1,), falling: at 0 the data come out, above 0 the state there, still noisy. draw:
step number → standard normal noise (b, c, h, w), for the solver that needs it. No solver asks at t = 0, where a
prediction may say nothing. ValueError where times or dtypes do not fit. Gradients flow where the caller lets them.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from .denoiser import Predict
from .path import Path


class Sampler(Protocol):
    """One solver."""

    def __call__(
        self, predict: Predict, path: Path, noise: Tensor, times: Tensor, draw: Callable[[int], Tensor] | None = None
    ) -> Tensor: ...


def euler(
    predict: Predict, path: Path, noise: Tensor, times: Tensor, draw: Callable[[int], Tensor] | None = None
) -> Tensor:
    """First order on dx/dt = velocity, deterministic, one evaluation a step."""
    x = noise
    for t, t_next in pairwise(checked(path, noise, times).tolist()):
        x = x + (t_next - t) * _velocity(predict, path, x, t)
    return x


def heun(
    predict: Predict, path: Path, noise: Tensor, times: Tensor, draw: Callable[[int], Tensor] | None = None
) -> Tensor:
    """Second order on dx/dt = velocity, deterministic, two evaluations a step, and one for a step that ends at t = 0.

    Source: arXiv 2206.00364, algorithm 1, in t.
    """
    x = noise
    for t, t_next in pairwise(checked(path, noise, times).tolist()):
        velocity = _velocity(predict, path, x, t)
        ahead = x + (t_next - t) * velocity
        if t_next > 0:
            velocity = (velocity + _velocity(predict, path, ahead, t_next)) / 2
            ahead = x + (t_next - t) * velocity
        x = ahead
    return x


def euler_maruyama(
    predict: Predict, path: Path, noise: Tensor, times: Tensor, draw: Callable[[int], Tensor] | None = None
) -> Tensor:
    """Weak first order on dx = (velocity + r·ε)·dt + √(2rσ)·dw backwards, r = ασ' − α'σ; one evaluation a step.

    Of the SDEs that share the marginals of the path (SiT, arXiv 2401.08740, eq. 6) this one is finite at both ends; on
    the linear path it is SiT's with w = 2σ, on the others the same one as a function of α/σ. A step that ends at t = 0
    follows the velocity alone, so that no fresh noise is left. ValueError without `draw`.
    """
    if draw is None:
        raise ValueError("euler_maruyama needs fresh noise for each step: give draw, for instance from SampleNoise.at")
    grid = checked(path, noise, times)
    sigmas, rates = path.sigma(grid).tolist(), path.coefficients(grid).rate.tolist()
    x = noise
    for step, (t, t_next) in enumerate(pairwise(grid.tolist())):
        level = at_level(x, t)
        prediction = predict(x, level).to(x.dtype)
        drift = path.as_velocity(prediction, x, level)
        if t_next > 0:
            drift = drift + rates[step] * path.as_noise(prediction, x, level)
        x = x + (t_next - t) * drift
        if t_next > 0:
            x = x + math.sqrt(2 * rates[step] * sigmas[step] * (t - t_next)) * draw(step).to(x)
    return x


def checked(path: Path, noise: Tensor, times: Tensor) -> Tensor:
    """`times` in float64 on the CPU; ValueError where no solver can walk them, or start from this noise."""
    grid = times.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()) or not grid[-1] >= 0:
        raise ValueError(f"times must be at least two numbers falling towards 0, got {grid.tolist()}")
    if grid[0] > path.ends[1]:
        raise ValueError(
            f"times start at {grid[0]:g}, where a {path.prediction} prediction on the {path.kind} path says nothing of "
            f"the data: start at {path.ends[1]:g} at most"
        )
    if noise.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"samplers integrate in float32 or float64, and the noise is {noise.dtype}")
    return grid


def at_level(x: Tensor, t: float) -> Tensor:
    """t for each image of x, as a `Predict` takes it."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def _velocity(predict: Predict, path: Path, x: Tensor, t: float) -> Tensor:
    level = at_level(x, t)
    return path.as_velocity(predict(x, level).to(x.dtype), x, level)
