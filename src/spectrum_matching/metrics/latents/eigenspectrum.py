"""Effective rank of latents, from the eigenvalues of the channels' covariance."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import effective_rank_share, jackknife, jackknife_rows, known
from ..metric import NONE, PAE, Metric
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

PARTICIPATION = Metric(
    key="participation_ratio",
    title="participation ratio of the channels",
    unit="channels",
    range="1 to the number of live channels",
    bounds=(1.0, None),
    source="GAE, after SSVAE (arXiv 2512.05394)",
    evidence="none, and the direction is disputed: SSVAE wants few modes, PAE and GAE many",
    conventions="(Σλ)²/Σλ² of the covariance (not the correlation) of all positions, live channels",
)
TOP1 = replace(
    PARTICIPATION,
    key="top1_share",
    title="variance along the first axis",
    unit="share of variance",
    range="1 / live channels to 1",
    bounds=(0.0, 1.0),
)
CONDITION = replace(
    PARTICIPATION,
    key="condition_number",
    title="condition number of the channels",
    unit="",
    range="from 1 on",
    bounds=(1.0, None),
    source="convention",
    evidence=NONE + "; set by the weakest live channel",
    conventions="largest over smallest eigenvalue of the covariance of all positions, live channels",
)
EFFECTIVE_RANK = replace(
    PARTICIPATION,
    key="effective_rank",
    title="effective rank of the images' means",
    unit="share of channels",
    range="0 to 1; too low for few images",
    bounds=(0.0, 1.0),
    source=PAE,
    conventions="exp(entropy of singular values) / channels, latents averaged over positions, centred over images, raw",
)

LARGEST_CONDITION = 1e12
"""From here on, the smallest eigenvalue is rounding: the channels depend on each other linearly."""


def channel_products(latents: Tensor) -> Tensor:
    """Return sums over positions of the products of channels: (b, c, h, w) → (b, c, c)."""
    positions = latents.flatten(2)
    return positions @ positions.mT


def channel_covariance(products: Tensor, sums: Tensor, n: Tensor) -> Tensor:
    """Return the covariance from sums over n positions of products and of values: (c, c), (c,), () → (c, c)."""
    return (products - torch.outer(sums, sums) / n) / (n - 1)


def participation_ratio(eigenvalues: Tensor) -> Tensor:
    """Return (Σλ)² / Σλ² of (…, c): (…), in 1 … c, how many directions the variance fills evenly."""
    return eigenvalues.sum(-1).square() / eigenvalues.square().sum(-1)


def top_share(eigenvalues: Tensor) -> Tensor:
    """Return the share of the variance in the largest of (…, c): (…), in 0 … 1; 1 / c for white noise."""
    return eigenvalues.amax(-1) / eigenvalues.sum(-1)


def condition_number(eigenvalues: Tensor) -> Tensor:
    """Return the largest over the smallest of (…, c): (…), from 1 on; ∞ where the smallest is nothing but rounding."""
    number = eigenvalues.amax(-1) / eigenvalues.amin(-1).clamp_min(0)
    return torch.where(number < LARGEST_CONDITION, number, torch.inf)


def effective_rank(features: Tensor, centre: bool = True) -> Tensor:
    """Return exp(entropy of the shares of the singular values) / c of one vector an image (n, c): scalar in (0, 1]."""
    values = torch.linalg.svdvals(features - features.mean(0) if centre else features)
    shares = values / values.sum()
    return (-torch.xlogy(shares, shares).sum()).exp() / features.shape[1]


def _covariance(sweep: LatentSweep) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """Return the raw covariance of live channels as a function of sums, and the sums by group."""
    stds, n_positions = sweep.moments.channel_stds[sweep.live], sweep.n_positions

    def estimate(products: Tensor, sums: Tensor, n: Tensor) -> Tensor:
        return channel_covariance(products, sums, n * n_positions) * torch.outer(stds, stds)

    return estimate, sweep.sums("products", "values")


def principal_axes(sweep: LatentSweep) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues of the raw covariance, and the first three axes with the standard deviations along them.

    (live,) descending; (c, 3), each axis with its largest entry positive; (3,). Zeros and ones where there are fewer.
    """
    estimate, groups = _covariance(sweep)
    values, vectors = torch.linalg.eigh(estimate(*(sums.sum(0) for sums in groups)))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    n = min(3, len(values))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    axes, scales = torch.zeros(len(sweep.live), 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    axes[sweep.live, :n] = (vectors * largest.sign())[:, :n]
    scales[:n] = values[:n].sqrt()
    return values, axes, scales


def _collect(batch: StandardisedBatch) -> BatchRows:
    sums = {"products": channel_products(batch.latents), "values": batch.latents.sum((-2, -1))}
    return BatchRows({"means": batch.raw.mean((-2, -1))}, sums)


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    keys, c = ("participation_ratio", "top1_share", "condition_number"), sweep.n_live
    if c < 2:
        single = Measurement(None, refused="one channel that varies has one direction")
        return dict.fromkeys((*keys, "effective_rank"), single)
    estimate, groups = _covariance(sweep)

    def statistics(*sums: Tensor) -> Tensor:
        values = torch.linalg.eigvalsh(estimate(*sums))
        return torch.stack([participation_ratio(values), top_share(values), condition_number(values)])

    values, errors = jackknife(statistics, *groups)
    numbers = {
        key: Measurement(float(values[i]), known(errors[i]), white)
        for i, (key, white) in enumerate(zip(keys, (float(c), 1 / c, 1.0), strict=True))
    }
    if values[2].isinf():
        numbers["condition_number"] = Measurement(None, refused="the channels depend on each other linearly")
    return numbers | {"effective_rank": _effective_rank(sweep.rows("means")[:, sweep.live])}


def _effective_rank(features: Tensor) -> Measurement:
    n, c = features.shape
    if n <= c:
        return Measurement(None, refused=f"{c} channels need more than {c} images, got {n}")
    if not (features.std(0) > 0).any():
        return Measurement(None, refused="the images' mean vectors are all the same")
    return jackknife_rows(effective_rank, features, effective_rank_share(c / (n - 1)))


EIGENSPECTRUM = LatentMetric((PARTICIPATION, TOP1, CONDITION, EFFECTIVE_RANK), _numbers, _collect)
