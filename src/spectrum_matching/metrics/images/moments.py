"""Running mean and covariance of vectors, in float64."""

import math
from typing import Self

import torch
from torch import Tensor

from ...records.measurement import Measurement


class RunningMoments:
    """Count, mean (d,) and covariance (d, d) of vectors, batch by batch; memory does not grow with their number."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, rows: Tensor) -> Self:
        """Add a batch of vectors (b, d).

        Raises:
            ValueError: for another shape, another d than in earlier batches, and values that are not finite.
        """
        rows = rows.detach().cpu().double()
        if rows.ndim != 2 or not rows.numel():
            raise ValueError(f"expected features (b, d), got {tuple(rows.shape)}")
        if not rows.isfinite().all():
            raise ValueError("features hold values that are not finite")
        mean = rows.mean(0)
        centred = rows - mean
        return self._include(len(rows), mean, centred.mT @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> Self:
        """Return the moments of `count` > 1 vectors with this mean (d,) and covariance (d, d), divided by count − 1."""
        scatter = covariance.double() * (count - 1)
        return cls()._include(count, mean.double(), (scatter + scatter.mT) / 2)

    def merge(self, other: Self) -> Self:
        """Add the vectors of another accumulator."""
        return self._include(other.count, other.mean, other._scatter) if other.count else self

    def _include(self, count: int, mean: Tensor, scatter: Tensor) -> Self:
        # Chan, Golub & LeVeque (1983): squares about the running mean, so that a large mean costs no digits.
        if not self.count:
            self.count, self.mean, self._scatter = count, mean.clone(), scatter.clone()
            return self
        if mean.shape != self.mean.shape:
            raise ValueError(f"features have {len(mean)} values each, earlier ones had {len(self.mean)}")
        total = self.count + count
        shift = mean - self.mean
        self._scatter += scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
        return self

    def covariance(self) -> Tensor:
        """Return the covariance (d, d), divided by n − 1.

        Raises:
            ValueError: for fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 vectors, got {self.count}")
        return self._scatter / (self.count - 1)

    def scalar(self) -> Measurement:
        """Return the mean of single values (d = 1) with its standard error over them; one value alone has none."""
        error = math.sqrt(float(self.covariance()[0, 0]) / self.count) if self.count > 1 else None
        return Measurement(float(self.mean[0]), error)
