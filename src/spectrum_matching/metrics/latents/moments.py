"""Mean and variance of latents by channel, accumulated in float64; dead channels; what a normalisation leaves."""

from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...records.analysis import Normalisation
from ...records.measurement import Measurement

DEAD = 1e-6
"""A channel whose standard deviation is at most this share of the largest is dead."""

BLOCK = 32  # latents whose float64 values stay in the processor's cache


class Moments(NamedTuple):
    """Mean and standard deviation of all latents, and of each channel (c,). Deviations are of the population."""

    mean: float
    std: float
    channel_means: Tensor
    channel_stds: Tensor


class ChannelMoments:
    """Mean and variance of latents (b, c, h, w) by channel, added batch by batch, in float64.

    With log-variances of posteriors, the variance is that of their samples: the variance of the means plus the mean of
    the variances. Squares are summed about the running mean, so that a large mean costs no digits: Chan, Golub &
    LeVeque, "Algorithms for Computing the Sample Variance" (1983).

    n: values in each channel so far.
    """

    def __init__(self) -> None:
        self.n = 0
        self._means = self._squares = self._variances = torch.zeros(0, dtype=torch.float64)

    def add(self, latents: Tensor, logvar: Tensor | None = None) -> None:
        """Add a batch: latents or posterior means (b, c, h, w), and log-variances of the same shape or None."""
        logvars = repeat(None) if logvar is None else logvar.split(BLOCK)
        for block, block_logvar in zip(latents.split(BLOCK), logvars, strict=False):
            values = block.cpu().double().transpose(0, 1).flatten(1)
            means = values.mean(1)
            squares = (values - means[:, None]).square().sum(1)
            if block_logvar is None:
                variances = torch.zeros_like(means)
            else:
                variances = block_logvar.cpu().double().exp().sum((0, 2, 3))
            self._merge(values.shape[1], means, squares, variances)

    def merge(self, other: "ChannelMoments") -> None:
        """Add all that another accumulator has seen."""
        self._merge(other.n, other._means, other._squares, other._variances)

    def _merge(self, n: int, means: Tensor, squares: Tensor, variances: Tensor) -> None:
        if not n:
            return
        if not self.n:
            self._means = self._squares = self._variances = torch.zeros_like(means)
        total = self.n + n
        shift = means - self._means
        self._squares = self._squares + squares + shift.square() * (self.n * n / total)
        self._means = self._means + shift * (n / total)
        self._variances = self._variances + variances
        self.n = total

    def moments(self) -> Moments:
        """Return mean and standard deviation, of samples where log-variances were added."""
        channel_stds = ((self._squares + self._variances) / self.n).sqrt()
        return Moments(*joint_moments(self._means, channel_stds), self._means, channel_stds)

    def state(self) -> list:
        """Return everything as numbers and lists of numbers, for JSON."""
        return [self.n, self._means.tolist(), self._squares.tolist(), self._variances.tolist()]

    @classmethod
    def from_state(cls, state: list) -> "ChannelMoments":
        """Return the accumulator whose `state` this is."""
        moments = cls()
        moments._merge(state[0], *(torch.tensor(values, dtype=torch.float64) for values in state[1:]))
        return moments


def dead_channels(stds: Tensor) -> Tensor:
    """Return which of the channels' standard deviations (c,) are at most 1e-6 of the largest: (c,) bool."""
    return ~(stds > DEAD * stds.max())


def counted_channels(stds: Tensor) -> Tensor:
    """Return which channels a scale of all together is of, from raw deviations (c,): live ones, all if none is."""
    dead = dead_channels(stds)
    return ~dead | dead.all()


def joint_moments(means: Tensor, stds: Tensor) -> tuple[float, float]:
    """Return the mean and the standard deviation of channels together, from those of each (c,)."""
    mean = means.mean()
    return float(mean), float((stds.square().mean() + (means - mean).square().mean()).sqrt())


def check_normalisation(
    space: LatentSpace, means: Tensor, stds: Tensor, standard_error: float | None = None
) -> Normalisation:
    """Describe latents normalised by `space`, from their channels' means and standard deviations (c,).

    standard_error: of the standard deviation of all live channels together.

    Diffusion schedules and priors assume unit variance, so the target is a standard deviation of 1, and a scale off by
    k is a signal-to-noise ratio off by k² at every noise level (Rombach et al., arXiv 2112.10752, section 4.3.2 and
    appendix G). This says that a scale is wrong, not that latents are good; under one common factor, channels of
    different standard deviation are the rule. Dead channels have no scale to judge and are left out, of the suggested
    factor too; their means are not.
    """
    means, stds = means.double(), stds.double()
    declared_std, declared_mean = (stds.new_tensor(values) for values in (space.std, space.mean))
    live = counted_channels(stds * declared_std)
    _, std = joint_moments(means[live], stds[live])
    _, raw_std = joint_moments((means * declared_std + declared_mean)[live], (stds * declared_std)[live])
    return Normalisation(
        convention=space.convention,
        std=Measurement(std, standard_error),
        channel_stds=(float(stds[live].min()), float(stds[live].max())),
        channel_means=(float(means.min()), float(means.max())),
        suggested_scaling_factor=1 / raw_std if raw_std > 0 else 1.0,
    )
