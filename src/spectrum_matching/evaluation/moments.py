"""Feature statistics taken apart and put together again, for files and for other processes."""

import torch
from torch import Tensor

from ..metrics.distances import FeatureStatistics


def from_moments(count: int, mean: Tensor, covariance: Tensor) -> FeatureStatistics:
    """Of `count` vectors with this mean (d,) and covariance (d, d), which is divided by count − 1."""
    assert count > 1
    scatter = covariance.double() * (count - 1)
    return FeatureStatistics()._include(count, mean.double(), (scatter + scatter.mT) / 2)


def scatter_of(statistics: FeatureStatistics, d: int) -> Tensor:
    """Sum of squares about the mean (d, d); zero where nothing was counted."""
    if statistics.count < 2:
        return torch.zeros(d, d, dtype=torch.float64)
    return statistics.covariance() * (statistics.count - 1)
