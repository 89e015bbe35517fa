"""Paths from data to noise, x_t = α(t)·x + σ(t)·ε, what a network may predict along them, and how it is called."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, get_args

import torch
from torch import Tensor

from ..spectrum.separable import constant

if TYPE_CHECKING:
    from jaxtyping import Float

    Data = Float[Tensor, "b ..."]
    Batch = Float[Tensor, " b"]
    Levels = Float[Tensor, "*b"]

Kind = Literal["linear", "cosine", "vp", "stable_diffusion"]
Prediction = Literal["velocity", "noise", "data"]

BETA_MIN, BETA_MAX = 0.1, 20.0
SD_BETAS, SD_STEPS = (0.00085, 0.012), 1000
T_MARGIN = 1e-3  # as Song et al. and SiT keep from the ends at which a prediction says nothing or a target is infinite


Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy (b, c, h, w) and t (b,) to a prediction (b, c, h, w): a denoiser with labels and guidance bound."""


class Denoiser(Protocol):
    """A network that predicts velocity, noise or data from noisy data, as its `Path` says, without randomness.

    noisy (b, c, h, w); t (b,) in [0, 1], 0 data and 1 noise; labels (b,) int64, −1 for no label, or None for a network
    without labels. Returns the prediction (b, c, h, w), and the output tokens (b, n, width) of block `tap` or None.
    """

    def __call__(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the prediction, and the tokens of block `tap` or None."""


class Coefficients(NamedTuple):
    """α, σ and their derivatives by t, all of one shape."""

    alpha: Levels
    sigma: Levels
    alpha_slope: Levels
    sigma_slope: Levels

    @property
    def rate(self) -> Tensor:
        """α·σ' − α'·σ > 0, the divisor that turns a velocity into noise or data."""
        return self.alpha * self.sigma_slope - self.alpha_slope * self.sigma


@dataclass(frozen=True)
class Path:
    """A path x_t = α·x + σ·ε, t = 0 data and t = 1 noise, and the quantity that the network predicts on it.

    kind "linear": α = 1 − t, σ = t (rectified flow, arXiv 2209.03003; SiT, arXiv 2401.08740). "cosine": α = cos(πt/2),
    σ = sin(πt/2) (arXiv 2209.15571, SiT's GVP). "vp": α = exp(−½∫β), σ² = 1 − α², β(t) = 0.1 + 19.9·t (Song et al.,
    arXiv 2011.13456, eq. 33); at t = 1 it still has α = 0.0066. "stable_diffusion": the 1,000 steps of Stable Diffusion
    and of U-ViT on ImageNet, √β equally spaced from √0.00085 to √0.012: α² is the product of 1 − β up to n at
    t = n/1000, and log α is linear in between (arXiv 2112.10752; DPM-Solver, arXiv 2206.00927, for the interpolation);
    at t = 1 it still has α = 0.068. Its σ' is undefined where two steps meet, and that of the later step is taken.
    prediction "velocity": dx_t/dt = α'·x + σ'·ε. "noise": ε. "data": x.

    t is (b,) throughout and broadcasts over (b, c, h, w); results have the wider dtype of the arguments.
    """

    kind: Kind = "linear"
    prediction: Prediction = "velocity"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"path must be one of {', '.join(get_args(Kind))}; got {self.kind!r}")
        if self.prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {', '.join(get_args(Prediction))}; got {self.prediction!r}")

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest t at which a network is trained.

        (0, 1), except for noise prediction where α(1) = 0, which says nothing about the data there (t ≤ 0.999), and for
        the velocity of "vp" and "stable_diffusion", which is infinite at t = 0 (t ≥ 0.001). Samplers start at the
        largest t and never evaluate at t = 0.
        """
        is_vp = self.kind in ("vp", "stable_diffusion")
        lowest = T_MARGIN if is_vp and self.prediction == "velocity" else 0.0
        highest = 1 - T_MARGIN if self.prediction == "noise" and not is_vp else 1.0
        return lowest, highest

    def coefficients(self, t: Levels) -> Coefficients:
        """Return α, σ and their derivatives at t, each of the shape of t.

        σ' of "vp" and "stable_diffusion" is infinite at t = 0.

        Raises:
            ValueError: for integers.
        """
        if not t.is_floating_point():
            raise ValueError(f"t is {t.dtype}: expected levels in [0, 1]; divide steps by their number")
        return _COEFFICIENTS[self.kind](t)

    def alpha(self, t: Levels) -> Levels:
        """Return α(t), from 1 to 0."""
        return self.coefficients(t).alpha

    def sigma(self, t: Levels) -> Levels:
        """Return σ(t), from 0 to 1."""
        return self.coefficients(t).sigma

    def log_snr(self, t: Levels) -> Levels:
        """Return log(α²/σ²): +∞ at t = 0, and −∞ at t = 1 where α is 0 there."""
        along = self.coefficients(t)
        return 2 * (along.alpha.log() - along.sigma.log())

    def mix(self, data: Data, noise: Data, t: Batch) -> Data:
        """Return x_t = α·data + σ·noise."""
        along = self._broadcast(t, data)
        return along.alpha * data + along.sigma * noise

    def target(self, data: Data, noise: Data, t: Batch) -> Data:
        """Return the training target at x_t."""
        if self.prediction == "velocity":
            along = self._broadcast(t, data)
            return along.alpha_slope * data + along.sigma_slope * noise
        return noise if self.prediction == "noise" else data

    def as_data(self, prediction: Data, noisy: Data, t: Batch) -> Data:
        """Convert a prediction at x_t to data x. From noise it needs α > 0, so t < 1 on "linear" and "cosine"."""
        along = self._broadcast(t, noisy)
        if self.prediction == "velocity":
            return (along.sigma_slope * noisy - along.sigma * prediction) / along.rate
        return (noisy - along.sigma * prediction) / along.alpha if self.prediction == "noise" else prediction

    def as_noise(self, prediction: Data, noisy: Data, t: Batch) -> Data:
        """Convert a prediction at x_t to noise ε. From data it needs t > 0."""
        along = self._broadcast(t, noisy)
        if self.prediction == "velocity":
            return (along.alpha * prediction - along.alpha_slope * noisy) / along.rate
        return (noisy - along.alpha * prediction) / along.sigma if self.prediction == "data" else prediction

    def as_velocity(self, prediction: Data, noisy: Data, t: Batch) -> Data:
        """Convert a prediction at x_t to velocity dx_t/dt. From data it needs t > 0; from noise, as in `as_data`."""
        if self.prediction == "velocity":
            return prediction
        along = self._broadcast(t, noisy)
        data, noise = self.as_data(prediction, noisy, t), self.as_noise(prediction, noisy, t)
        return along.alpha_slope * data + along.sigma_slope * noise

    def score(self, prediction: Data, noisy: Data, t: Batch) -> Data:
        """Return the score ∇ log p_t(x_t) = −ε/σ, for t > 0."""
        return -self.as_noise(prediction, noisy, t) / self._broadcast(t, noisy).sigma

    def _broadcast(self, t: Tensor, field: Tensor) -> Coefficients:
        return self.coefficients(t.view(-1, *[1] * (field.ndim - 1)))


def _linear(t: Tensor) -> Coefficients:
    one = torch.ones_like(t)
    return Coefficients(1 - t, t, -one, one)


def _cosine(t: Tensor) -> Coefficients:
    quarter = math.pi / 2
    alpha, sigma = torch.sin(quarter * (1 - t)), torch.sin(quarter * t)  # a cosine would miss 0 at t = 1
    return Coefficients(alpha, sigma, -quarter * sigma, quarter * alpha)


def _vp(t: Tensor) -> Coefficients:
    beta = BETA_MIN + (BETA_MAX - BETA_MIN) * t
    log_alpha = -0.25 * (BETA_MAX - BETA_MIN) * t.square() - 0.5 * BETA_MIN * t
    alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
    return Coefficients(alpha, sigma, -0.5 * beta * alpha, 0.5 * beta * alpha.square() / sigma)


@constant
def _sd_log_alpha() -> Tensor:
    """(2, 1000): log α before each of 1,000 steps, and its change in the step."""
    first, last = (math.sqrt(beta) for beta in SD_BETAS)
    change = 0.5 * torch.log1p(-torch.linspace(first, last, SD_STEPS, dtype=torch.float64).square())
    return torch.stack([change.cumsum(0) - change, change])


def _stable_diffusion(t: Tensor) -> Coefficients:
    before, change = _sd_log_alpha(like=t)
    position = t * SD_STEPS
    step = position.floor().clamp(0, SD_STEPS - 1).long()
    log_alpha, slope = before[step] + (position - step) * change[step], SD_STEPS * change[step]
    alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
    return Coefficients(alpha, sigma, slope * alpha, -slope * alpha.square() / sigma)


_COEFFICIENTS = {"linear": _linear, "cosine": _cosine, "vp": _vp, "stable_diffusion": _stable_diffusion}
