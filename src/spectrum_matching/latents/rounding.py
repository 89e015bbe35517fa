"""What rounding latents to the type of a cache costs, compared with how much they vary."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..metrics.latents.moments import ChannelMoments, dead_channels

LARGEST = 0.01
"""Root-mean-square rounding error over a channel's standard deviation above which a type does not hold the latents."""


class RoundingErrors:
    """Errors of latents (b, c, h, w) by channel, and moments of the latents before rounding, added batch by batch.

    Of a posterior, the error is that of a sample with the same noise: in the mean, and in the standard deviation.
    """

    def __init__(self) -> None:
        self._exact = ChannelMoments()
        self._squares = torch.zeros(0, dtype=torch.float64)

    def add(self, exact: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
        """Add a batch: `mean` and perhaps `logvar`, exact and as they are stored."""
        squares = (stored["mean"].double() - exact["mean"].cpu().double()).square().sum((0, 2, 3))
        if "logvar" in exact:
            stds = (values["logvar"].cpu().double().mul(0.5).exp() for values in (stored, exact))
            squares = squares + (next(stds) - next(stds)).square().sum((0, 2, 3))
        self._exact.add(exact["mean"], exact.get("logvar"))
        self._merge(squares)

    def merge(self, other: "RoundingErrors") -> None:
        """Add all that another accumulator has seen."""
        self._exact.merge(other._exact)
        self._merge(other._squares)

    def _merge(self, squares: Tensor) -> None:
        if len(squares):
            self._squares = self._squares + squares if len(self._squares) else squares

    def ratios(self) -> Tensor:
        """Return the error of each channel over its standard deviation (c,); 0 where the latents do not vary."""
        if not self._exact.n:
            return self._squares
        stds = self._exact.moments().channel_stds
        return torch.where(dead_channels(stds), 0, (self._squares / self._exact.n).sqrt() / stds)

    def require_small(self, dtype: str) -> None:
        """Check that rounding to `dtype` is small.

        Raises:
            ValueError: naming the channel where it is largest.
        """
        ratios = self.ratios()
        if not len(ratios) or float(ratios.max()) <= LARGEST:
            return
        channel, moments = int(ratios.argmax()), self._exact.moments()
        mean, std = float(moments.channel_means[channel]), float(moments.channel_stds[channel])
        raise ValueError(
            f"{dtype} does not hold these latents: rounding is {float(ratios[channel]):.2g} of the standard deviation"
            f" of channel {channel} of {len(ratios)} (mean {mean:.4g}, std {std:.4g}); {LARGEST:g} is small;"
            f" cache them with --dtype float32"
        )

    def state(self) -> list:
        """Return everything as numbers and lists of numbers, for JSON."""
        return [self._exact.state(), self._squares.tolist()]

    @classmethod
    def from_state(cls, state: list) -> "RoundingErrors":
        """Return the accumulator whose `state` this is."""
        errors = cls()
        errors._exact, errors._squares = (
            ChannelMoments.from_state(state[0]),
            torch.tensor(state[1], dtype=torch.float64),
        )
        return errors
