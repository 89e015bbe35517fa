"""Samplers from noise to data along a grid of times, with one signature: (predict, path, noise, times, draw) → data.

predict: returns what `path.prediction` names. noise (b, c, h, w): the state at times[0], float32 or float64, which is
the precision of the integration. times (n_steps + 1,), decreasing; the result is the state at the last of them: data at
0, noisy above. draw: step number → standard normal noise (b, c, h, w), for stochastic solvers. No solver
evaluates at t = 0, where a prediction may be undefined. ValueError for times or dtypes that do not fit. Gradients flow
unless the caller disables them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..seeding import seeded
from .path import Path, Predict
from .times import shifted

if TYPE_CHECKING:
    from jaxtyping import Float

    Data = Float[Tensor, "b c h w"]
    TimeGrid = Float[Tensor, " n"]


class Sampler(Protocol):
    """The signature that all solvers share."""

    def __call__(
        self, predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
    ) -> Data:
        """Integrate from times[0] to times[-1]."""


def euler(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate dx/dt = velocity by Euler's method: first order, deterministic, one evaluation a step."""
    x = noise
    for t, t_next in pairwise(checked(path, noise, times).tolist()):
        x = x + (t_next - t) * _velocity(predict, path, x, t)
    return x


def heun(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate dx/dt = velocity by Heun's method: second order, deterministic.

    Two evaluations a step, and one for a step that ends at t = 0. Source: arXiv 2206.00364, algorithm 1, in t.
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
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate the reverse SDE dx = (velocity + r·ε)·dt + √(2rσ)·dw, r = ασ' − α'σ, by Euler–Maruyama.

    Weak first order, one evaluation a step. Of the SDEs that share the marginals of the path (SiT, arXiv 2401.08740,
    eq. 6) this one is finite at both ends; on the linear path it is SiT's with w = 2σ, on the others the same one as a
    function of α/σ. A step that ends at t = 0 follows the velocity alone, so that no fresh noise is left.

    Raises:
        ValueError: without `draw`.
    """
    return _euler_maruyama(predict, path, noise, times, draw, "euler_maruyama", last=0.0)


def euler_maruyama_mean(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate as `euler_maruyama`; a step that ends at t = 0 keeps the SDE's drift, and adds no noise.

    SiT's last step "Mean", which REPA's sampler has too: on the linear path x̂ − t·ε̂ where `euler_maruyama` gives x̂.
    Their published numbers use it on a grid of 250 evaluations whose last step is 0.04: `time_grid(…, last_step=0.04)`.

    Raises:
        ValueError: without `draw`.
    """
    return _euler_maruyama(predict, path, noise, times, draw, "euler_maruyama_mean", last=1.0)


def _euler_maruyama(
    predict: Predict,
    path: Path,
    noise: Data,
    times: TimeGrid,
    draw: Callable[[int], Tensor] | None,
    name: str,
    last: float,
) -> Data:
    """last: share of the drift's stochastic part in a step that ends at t = 0."""
    if draw is None:
        raise ValueError(f"{name} needs fresh noise for each step: give draw, for instance from SampleNoise.at")
    grid = checked(path, noise, times)
    sigmas, rates = path.sigma(grid).tolist(), path.coefficients(grid).rate.tolist()
    x = noise
    for step, (t, t_next) in enumerate(pairwise(grid.tolist())):
        level = at_level(x, t)
        prediction = predict(x, level).to(x.dtype)
        drift, share = path.as_velocity(prediction, x, level), 1.0 if t_next > 0 else last
        if share:
            drift = drift + share * rates[step] * path.as_noise(prediction, x, level)
        x = x + (t_next - t) * drift
        if t_next > 0:
            x = x + math.sqrt(2 * rates[step] * sigmas[step] * (t - t_next)) * draw(step).to(x)
    return x


def dpm_solver(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate by DPM-Solver++(2M): second order, deterministic, one evaluation a step.

    The first step and one that ends at t = 0 are of first order; after a start at α = 0, which is infinitely far in λ,
    so is the second. Source: arXiv 2211.01095, algorithm 2, on any path through its α, σ, λ.
    """
    grid = checked(path, noise, times)
    alphas, sigmas, lambdas = (v.tolist() for v in (path.alpha(grid), path.sigma(grid), path.log_snr(grid) / 2))
    x, previous = noise, None
    for i, t in enumerate(grid[:-1].tolist()):
        level = at_level(x, t)
        data = ahead = path.as_data(predict(x, level).to(x.dtype), x, level)
        if previous is not None and sigmas[i + 1] > 0:
            ahead = data + (lambdas[i + 1] - lambdas[i]) / (2 * (lambdas[i] - lambdas[i - 1])) * (data - previous)
        kept = sigmas[i + 1] / sigmas[i]
        x = kept * x + (alphas[i + 1] - kept * alphas[i]) * ahead
        previous = data
    return x


def dpm_solver_3(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate by single-step DPM-Solver++: third order, deterministic, one evaluation a step of the grid.

    It goes from every third time to the next, and evaluates at the two in between. Where the number of steps leaves two
    or four, these are taken in pairs at second order; a step that starts at α = 0 or ends at t = 0 is of first order,
    and so is a single one. Source: arXiv 2206.00927, for predictions of data as in arXiv 2211.01095. With
    `time_grid(path, 50, end=0.001)` it is U-ViT's on latents.
    """
    grid = checked(path, noise, times)
    alphas, sigmas, lambdas = (v.tolist() for v in (path.alpha(grid), path.sigma(grid), path.log_snr(grid) / 2))
    ts, x, i = grid.tolist(), noise, 0

    def data_at(k: int, state: Tensor) -> Tensor:
        level = at_level(state, ts[k])
        return path.as_data(predict(state, level).to(state.dtype), state, level)

    for order in _orders(len(ts) - 1, is_first_alone=alphas[0] == 0, is_last_alone=sigmas[-1] == 0):
        start, end, data, change = x, i + order, data_at(i, x), None
        for k in range(i + 1, end + 1):
            h = lambdas[k] - lambdas[i]  # infinite where the order is 1 at an end
            x = sigmas[k] / sigmas[i] * start - alphas[k] * math.expm1(-h) * data
            if change is not None:
                # DPM-Solver's code integrates a slope exactly within third order, and by the midpoint in second.
                weight = -0.5 * math.expm1(-h) if order == 2 else math.expm1(-h) / h + 1
                x = x + alphas[k] * weight * h * change
            if k < end:
                change = (data_at(k, x) - data) / h  # slope of the data by λ
        i = end
    return x


def _orders(n: int, is_first_alone: bool, is_last_alone: bool) -> list[int]:
    """Return orders that sum to n: threes, then 2 or 2 + 2; 1 for a first or last step that has to be alone."""
    first, last = [1] * is_first_alone, [1] * (is_last_alone and n > is_first_alone)
    left = n - len(first) - len(last)
    twos = [0, 2, 1][left % 3] if left > 1 else 0
    return [*first, *[3] * ((left - 2 * twos) // 3), *[2] * twos, *[1] * (left == 1), *last]


def by_steps(
    sampler: Sampler, predict_at: Callable[[float], Predict], path: Path, noise: Data, times: TimeGrid
) -> Data:
    """Run a deterministic one-step sampler with the prediction that `predict_at` gives for the start of each step.

    So REPA's Heun decides by the time before a step whether its corrector is guided, not by the corrector's own.
    """
    x, grid = noise, checked(path, noise, times)
    for step, t in enumerate(grid[:-1].tolist()):
        x = sampler(predict_at(t), path, x, grid[step : step + 2])
    return x


def checked(path: Path, noise: Data, times: TimeGrid) -> TimeGrid:
    """Return `times` in float64 on the CPU.

    Raises:
        ValueError: unless they decrease towards 0 from where the path can be sampled, or for noise of another dtype.
    """
    grid = times.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()) or not grid[-1] >= 0:
        raise ValueError(f"times must be at least two numbers decreasing towards 0, got {grid.tolist()}")
    if grid[0] > path.ends[1]:
        why = f"where a {path.prediction} prediction on the {path.kind} path says nothing about the data"
        raise ValueError(f"times start at {grid[0]:g}, {why}: start at {path.ends[1]:g} at most")
    if noise.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"samplers integrate in float32 or float64, and the noise is {noise.dtype}")
    return grid


def at_level(x: Data, t: float) -> Float[Tensor, " b"]:
    """Repeat t for each image of x, as a `Predict` takes it."""
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def _velocity(predict: Predict, path: Path, x: Tensor, t: float) -> Tensor:
    level = at_level(x, t)
    return path.as_velocity(predict(x, level).to(x.dtype), x, level)


SAMPLERS: dict[str, Sampler] = {
    run.__name__: run for run in (euler, heun, euler_maruyama, euler_maruyama_mean, dpm_solver, dpm_solver_3)
}


def time_grid(
    path: Path, n_steps: int, shift: float = 1.0, last_step: float = 0.0, end: float = 0.0
) -> Float[Tensor, " n"]:
    """Return times from the largest t of `path.ends` down to `end`, (n_steps + 1,) float64 on the CPU.

    Equal steps, warped by `times.shifted`: a shift above 1 spends more of them where there is more noise. last_step:
    size of the last step, before the equal others; SiT and REPA end their SDE with 0.04. 0: all are equal. end: 0.001
    in U-ViT, whose samples keep the noise that is left there.

    Raises:
        ValueError: for numbers out of range, and a last step on a grid that does not end at 0.
    """
    if n_steps < 1:
        raise ValueError(f"sampling needs at least one step, got {n_steps}")
    if not shift > 0:
        raise ValueError(f"expected a positive shift, got {shift}")
    if not 0 <= last_step < 1 or (last_step and n_steps < 2):
        raise ValueError(f"expected a last step of at least 0 and below 1, of at least 2 steps, got {last_step:g}")
    if not 0 <= end < path.ends[1] or (end and last_step):
        raise ValueError(f"expected an end from 0 to below {path.ends[1]:g}, without a last step, got {end:g}")
    steps = torch.linspace(1, 0, n_steps + 1, dtype=torch.float64)
    if last_step:
        steps[:-1] = torch.linspace(1, last_step, n_steps, dtype=torch.float64)
    times = end + (path.ends[1] - end) * shifted(steps, shift)
    times[0] = path.ends[1]  # rounding might begin above it
    return times


def evaluations(name: str, n_steps: int) -> int:
    """Return the number of evaluations of a sampler on a grid of `n_steps` steps down to 0."""
    return len(evaluation_times(name, torch.linspace(1, 0, n_steps + 1)))


def evaluation_times(name: str, times: Float[Tensor, " n"], by_step: bool = False) -> list[float]:
    """Return the t at which a sampler evaluates the network, in order, on times (n_steps + 1,).

    by_step: instead the time before the step that each evaluation belongs to.
    """
    starts, stops = times[:-1].tolist(), times[1:].tolist()
    if name != "heun":
        return starts
    pairs = zip(starts, stops, strict=True)
    return [start if by_step else t for start, stop in pairs for t in (start, stop) if t > 0]


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise for samples numbered `indices`, whatever batches and processes they are split into."""

    seed: int
    indices: Sequence[int]

    def start(self, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
        """Return the initial noise: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._sample("start", shape)

    def at(self, step: int, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
        """Return the noise of step number `step`: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._sample(step, shape)

    def _sample(self, step: int | str, shape: tuple[int, ...]) -> Tensor:
        noise = torch.empty(len(self.indices), *shape)
        for row, index in zip(noise, self.indices, strict=True):
            row.normal_(generator=seeded("sample", self.seed, index, step))
        return noise
