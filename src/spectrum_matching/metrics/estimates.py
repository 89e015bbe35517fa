"""Estimates over images with standard errors over other images, and their values on white noise."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..records.measurement import Measurement

N_GROUPS = 20
"""Groups of images that the jackknife deletes in turn; what is kept does not grow with the number of images."""

N_NODES = 512
"""Nodes of the quadrature over the Marchenko–Pastur law."""


class GroupedSums:
    """Sums over images in `N_GROUPS` groups, filled in turn, for statistics that are not means over images."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, rows: Tensor, first: int) -> None:
        """Add `rows` (b, …); `first` is the index of the first of these images in the set."""
        sums = self._sums.setdefault(name, torch.zeros(N_GROUPS, *rows.shape[1:], dtype=torch.float64))
        sums.index_add_(0, torch.arange(first, first + len(rows)) % N_GROUPS, rows)

    def __getitem__(self, name: str) -> Tensor:
        return self._sums[name]


def estimate_mean(rows: Tensor, white: float | None = None) -> Measurement:
    """Return the mean over images of `rows` (n,), without a standard error for a single image."""
    n, rows = len(rows), rows.cpu().double()
    return Measurement(float(rows.mean()), float(rows.std()) / math.sqrt(n) if n > 1 else None, white)


def half_interval(number: Measurement, n: int) -> float | None:
    """Return half the interval of 95 % of an estimate over n images, by Student's t; None if it is not estimated.

    Of 6 images it is 2.57 standard errors, where `Measurement.half_width` has the 1.96 of many.
    """
    from scipy.stats import t as student  # type: ignore[import-untyped]

    error = number.standard_error
    return None if error is None else float(student.ppf(0.975, n - 1)) * error


def estimate_class_mean(rows: Tensor, labels: Tensor, white: float | None = None) -> Measurement:
    """Return the mean over classes of the means of `rows` (n,), labels (n,): classes count alike, however large.

    Standard error over the images within classes; none where a class has a single image.
    """
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    rows, sums = rows.double(), torch.zeros(2, len(counts), dtype=torch.float64)
    sums.index_add_(1, labels, torch.stack([rows, rows.square()]))
    means, squares = sums / counts
    variance = (squares - means.square()).clamp_min(0) / (counts - 1)
    error = float(variance.sum().sqrt()) / len(counts) if counts.min() > 1 else None
    return Measurement(float(means.mean()), error, white)


def estimate_ratio(parts: Tensor, wholes: Tensor, white: float | None = None) -> Measurement:
    """Return the sum of `parts` (n,) over the sum of `wholes` (n,), with the standard error of the delta method."""
    n, whole = len(parts), float(wholes.sum())
    ratio = float(parts.sum()) / whole
    residual = float((parts - ratio * wholes).square().sum())
    return Measurement(ratio, math.sqrt(residual * n / (n - 1)) / whole if n > 1 else None, white)


def jackknife(statistic: Callable[..., Tensor], *groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return `statistic` of the sums over all groups and its delete-a-group standard error: groups (g, …) → (…), (…).

    The last of `groups` (g,) counts images; groups without any are left out. The standard error is NaN for fewer than
    two, and where the statistic without one of them is not finite.
    """
    filled = groups[-1] > 0
    groups = tuple(sums[filled] for sums in groups)
    value, g = statistic(*(sums.sum(0) for sums in groups)), int(filled.sum())
    if g < 2:
        return value, torch.full_like(value, torch.nan)
    others = [_sums_of_others(sums) for sums in groups]
    return value, _spread(torch.stack([statistic(*(sums[i] for sums in others)) for i in range(g)]))


def _sums_of_others(groups: Tensor) -> Tensor:
    """Return for each group the sum of all others: (g, …) → (g, …).

    Added up, since a group subtracted from the total leaves the rounding of the total in what may be nothing.
    """
    none = torch.zeros_like(groups[:1])
    before, after = groups[:-1].cumsum(0), groups[1:].flip(0).cumsum(0).flip(0)
    return torch.cat([none, before]) + torch.cat([after, none])


def _spread(left: Tensor) -> Tensor:
    """Return the standard error from values without each group (g, …): (…), NaN where one of them is not finite."""
    error = ((len(left) - 1) * left.var(0, correction=0)).sqrt()
    return torch.where(left.isfinite().all(0), error, torch.nan)


def known(error: Tensor) -> float | None:
    """Return a standard error (), None where it is NaN."""
    return None if error.isnan() else float(error)


def jackknife_scalar(statistic: Callable[..., Tensor], *groups: Tensor, white: float | None = None) -> Measurement:
    """Return `jackknife` of a scalar statistic."""
    value, error = jackknife(statistic, *groups)
    return Measurement(float(value), known(error), white)


def jackknife_rows(statistic: Callable[[Tensor], Tensor], rows: Tensor, white: float | None = None) -> Measurement:
    """Return a scalar `statistic` of `rows` (n, …) with its delete-a-group standard error, from 3 rows on.

    No standard error either where the statistic without a group is not finite.
    """
    value, n_groups = float(statistic(rows)), min(N_GROUPS, len(rows))
    if len(rows) < 3:
        return Measurement(value, None, white)
    group = torch.arange(len(rows)) % n_groups
    left = torch.stack([statistic(rows[group != i]) for i in range(n_groups)])
    return Measurement(value, known(_spread(left)), white)


def marchenko_pastur(aspect: float) -> tuple[Tensor, Tensor]:
    """Return eigenvalues of a sample covariance of white noise, as nodes and weights of a quadrature: (n,), (n,).

    aspect: dimensions over samples, in 0 … 1. Source: Marchenko and Pastur, 1967.
    """
    angle = (torch.arange(N_NODES, dtype=torch.float64) + 0.5) * math.pi / N_NODES
    values = 1 + aspect + 2 * math.sqrt(aspect) * angle.cos()
    return values, 2 / N_NODES * angle.sin().square() / values


def mean_root(aspect: float) -> float:
    """Return the mean square root of the eigenvalues: 1 for many samples, less for few."""
    values, weights = marchenko_pastur(aspect)
    return float(values.sqrt() @ weights)


def effective_rank_share(aspect: float) -> float:
    """Return exp(entropy of the singular values' shares) over the number of dimensions: 1 for many samples."""
    values, weights = marchenko_pastur(aspect)
    singular = values.sqrt()
    mean = float(singular @ weights)
    return mean * math.exp(-float((singular * singular.log()) @ weights) / mean)


def stretch(n: int) -> float:
    """Return how much wider a 95 % interval of a mean of n values is than its bootstrap's percentiles, n at least 2."""
    from scipy.stats import t as student

    n = max(n, 2)
    return float(student.ppf(0.975, n - 1)) / 1.96 * math.sqrt(n / (n - 1))
