"""KID: the squared maximum mean discrepancy of two sets of features under a cubic kernel, unbiased at any size."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024


class KernelDistance(NamedTuple):
    """A squared distance, which can come out negative, and its standard error over the images of both sets."""

    value: float
    standard_error: float


def kernel_distance(a: Tensor, b: Tensor) -> KernelDistance:
    """Unbiased MMD² with the kernel (x·y / d + 1)³: features (n, d), (m, d).

    Taken over all pairs, of which the customary mean over random subsets is an estimate with the same expectation. The
    standard error is that of the U-statistic's first-order terms, so too small where the sets are alike. ValueError for
    fewer than two images or features of different sizes. Source: Bińkowski et al., Demystifying MMD GANs
    (arXiv 1801.01401).
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
    return KernelDistance(float(value), math.sqrt(float(variance)))


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([_kernel(rows @ b.mT, a.shape[1]).sum(1) for rows in a.split(CHUNK)])


def _diagonal(a: Tensor) -> Tensor:
    return _kernel(a.square().sum(1), a.shape[1])
