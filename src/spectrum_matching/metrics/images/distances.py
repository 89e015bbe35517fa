"""The Fréchet distance of two sets of images by Gaussian fits to their features, streaming and in float64."""

from typing import Self

import torch
from torch import Tensor


class FeatureStatistics:
    """Count, mean and covariance of vectors (b, d), batch by batch: what is kept does not grow with their number."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> Self:
        """Count a batch in; ValueError unless it is (b, d) with the d of the batches before and finite."""
        rows = features.detach().cpu().double()
        if rows.ndim != 2 or not rows.numel():
            raise ValueError(f"expected features (b, d), got {tuple(features.shape)}")
        if not rows.isfinite().all():
            raise ValueError("features hold values that are not finite")
        mean = rows.mean(0)
        centred = rows - mean
        return self._include(len(rows), mean, centred.mT @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> Self:
        """Of `count` > 1 vectors with this mean (d,) and covariance (d, d), which is divided by count − 1."""
        scatter = covariance.double() * (count - 1)
        return cls()._include(count, mean.double(), (scatter + scatter.mT) / 2)

    def merge(self, other: Self) -> Self:
        """Count in what another one has counted."""
        return self._include(other.count, other.mean, other._scatter) if other.count else self

    def _include(self, count: int, mean: Tensor, scatter: Tensor) -> Self:
        # Chan, Golub & LeVeque (1983): squares about the running mean, so that a large mean costs no digits.
        if not self.count:
            self.count, self.mean, self._scatter = count, mean.clone(), scatter.clone()
            return self
        if mean.shape != self.mean.shape:
            raise ValueError(f"features have {len(mean)} values each, those before had {len(self.mean)}")
        total = self.count + count
        shift = mean - self.mean
        self._scatter += scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
        return self

    def covariance(self) -> Tensor:
        """(d, d), divided by n − 1; ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 vectors, got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½), never negative, also where covariances lack rank.

    Lower is nearer, 0 for equal moments; the square of a distance. Biased upward in finite samples, see
    `frechet_refusal`. Source: Heusel et al., GANs Trained by a Two Time-Scale Update Rule (arXiv 1706.08500), where
    the features are Inception's: only then is it FID. As a reconstruction's rFID it orders autoencoders by fidelity,
    and is no predictor of generation. ValueError for fewer than two vectors or features of different sizes.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {len(a.mean)} and of {len(b.mean)} values cannot be compared")
    first, second = a.covariance(), b.covariance()
    # Tr(Σ_a Σ_b)^½ is the sum of the singular values of Σ_a^½ Σ_b^½. Unlike the eigenvalues of a product these need no
    # root, which would blow the rounding of an eigenvalue 0 up to half as many digits.
    overlap = torch.linalg.svdvals(_root(first).mT @ _root(second)).sum()
    distance = (a.mean - b.mean).square().sum() + first.trace() + second.trace() - 2 * overlap
    return max(float(distance), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """R with R Rᵀ = covariance; eigenvalues that are rounding count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    noise = values.abs().max() * len(values) * torch.finfo(values.dtype).eps
    return vectors * torch.where(values > noise, values, 0).sqrt()


def frechet_refusal(n_images: int, n_features: int) -> str:
    """Why the distance of so few images means nothing, or "" where they are enough for covariances of full rank."""
    if n_images > n_features:
        return ""
    return (
        f"{n_images} images cannot fill a covariance of {n_features} features: the distance would be that of the "
        f"sample size; take more than {n_features} images"
    )
