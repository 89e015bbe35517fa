"""KID: the squared maximum mean discrepancy of two sets of features under a cubic kernel, unbiased at any size."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ...records.measurement import Measurement
from .score import SetComparison, SetScore, score_metric

CHUNK = 1024

KID_METRIC = score_metric(
    key="kid",
    title="kernel distance",
    range="about 0 on; unbiased, so it may come out below",
    bounds=(None, None),
    source="Bińkowski et al. (arXiv 1801.01401)",
    conventions="KID where the extractor is Inception's; cubic kernel, all pairs of at most 10,000 images a side. "
    "Interval: first-order terms of the U-statistic, over the images of both sides",
)


def kernel_distance(a: Tensor, b: Tensor) -> Measurement:
    """Return the unbiased MMD² of features (n, d) and (m, d) with the kernel (x·y / d + 1)³; it can be negative.

    Over all pairs; the customary mean over random subsets estimates the same. The standard error is that of the
    U-statistic's first-order terms, so too small for sets of equal distribution. Source: Bińkowski et al.,
    Demystifying MMD GANs (arXiv 1801.01401).

    Raises:
        ValueError: for fewer than two images in a set, and for features of different sizes.
    """
    if a.shape[1:] != b.shape[1:] or a.ndim != 2:
        raise ValueError(f"features {tuple(a.shape)} and {tuple(b.shape)} cannot be compared, expected (n, d), (m, d)")
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError(f"a kernel distance needs at least 2 images on each side, got {n} and {m}")
    a, b = a.double(), b.double()
    within_a, across_a = (_row_sums(a, a) - _diagonal(a)) / (n - 1), _row_sums(a, b) / m
    within_b, across_b = (_row_sums(b, b) - _diagonal(b)) / (m - 1), _row_sums(b, a) / n
    value = within_a.mean() + within_b.mean() - across_a.mean() - across_b.mean()
    variance = 4 * ((within_a - across_a).var() / n + (within_b - across_b).var() / m)
    return Measurement(float(value), math.sqrt(float(variance)))


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([_kernel(rows @ b.mT, a.shape[1]).sum(1) for rows in a.split(CHUNK)])


def _diagonal(a: Tensor) -> Tensor:
    return _kernel(a.square().sum(1), a.shape[1])


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    rows, reference = comparison.images.rows("features"), comparison.reference.rows("features")
    if rows is None:
        return {}
    return {"kid": comparison.no_rows if reference is None else kernel_distance(rows, reference)}


KID = SetScore((KID_METRIC,), _compare)
