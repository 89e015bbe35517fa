"""DPM-Solver++(2M): a multistep solver that extrapolates the data prediction in λ = log(α/σ)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from .denoiser import Predict
from .path import Path
from .solvers import at_level, checked

if TYPE_CHECKING:
    from jaxtyping import Float

    Data = Float[Tensor, "b c h w"]
    TimeGrid = Float[Tensor, " n"]


def dpm_solver(
    predict: Predict, path: Path, noise: Data, times: TimeGrid, draw: Callable[[int], Tensor] | None = None
) -> Data:
    """Integrate by DPM-Solver++(2M): second order, deterministic, one evaluation a step.

    The first step and one that ends at t = 0 are of first order; after a start at α = 0, which is infinitely far in λ,
    so is the second. Signature as in `solvers`. Source: arXiv 2211.01095, algorithm 2, on any path through its α, σ, λ.
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
