"""Channels: how many directions the cells' vectors fill, which channels are dead or stand out, and their tails."""

import torch
from torch import Tensor

DEAD = 1e-6
"""A channel whose standard deviation is at most this share of the largest is dead."""

OUTLYING = 5.0
"""A live channel this many times above or below the median standard deviation stands out."""

HEAVY = 10.0
"""A live channel of a larger excess kurtosis stands out: a few cells carry it."""


def dead_channels(stds: Tensor) -> Tensor:
    """Which of the channels' standard deviations (c,) are at most 1e-6 of the largest: (c,) bool."""
    return ~(stds > DEAD * stds.max())


def outlier_channels(stds: Tensor, kurtosis: Tensor) -> Tensor:
    """Which live channels have a standard deviation over 5 times or under 1/5 of the live median, or |kurtosis| > 10.

    stds, excess kurtosis (c,) → (c,) bool. The rule is ours; no relation to generation is known.
    """
    live = ~dead_channels(stds)
    if not live.any():
        return ~live & live
    ratio = stds / stds[live].quantile(0.5)
    return live & ((ratio > OUTLYING) | (ratio < 1 / OUTLYING) | (kurtosis.abs() > HEAVY))


def power_sums(latents: Tensor) -> Tensor:
    """Sums of the first to fourth powers over cells: standardised (b, c, h, w) → (b, c, 4)."""
    squares = latents.square()
    return torch.stack([x.sum((-2, -1)) for x in (latents, squares, squares * latents, squares.square())], -1)


def tails(sums: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Skewness and excess kurtosis from `power_sums` over n cells: (…, 4), () → (…), (…).

    Third and fourth standardised moments, minus 3 in the second case; population moments. Both are 0 for a Gaussian,
    the kurtosis −2 for ±1. Stable, as long as the cells were standardised before they were summed. No direction: heavy
    tails are hard for a diffusion model's unit Gaussian, but no study relates them to generation.
    """
    mean, second, third, fourth = (sums / n).unbind(-1)
    variance = second - mean.square()
    skewness = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
    kurtosis = (fourth - 4 * mean * third + 6 * mean.square() * second - 3 * mean**4) / variance.square() - 3
    return skewness, kurtosis


def cell_products(latents: Tensor) -> Tensor:
    """Sums over cells of the channels' products: (b, c, h, w) → (b, c, c)."""
    cells = latents.flatten(2)
    return cells @ cells.mT


def cell_covariance(products: Tensor, sums: Tensor, n: Tensor) -> Tensor:
    """Covariance of the cells' vectors from sums over n cells of products and of values: (c, c), (c,), () → (c, c)."""
    return (products - torch.outer(sums, sums) / n) / (n - 1)


def correlation(covariance: Tensor) -> Tensor:
    """Covariance with unit diagonal: (c, c) → (c, c)."""
    std = covariance.diagonal().sqrt()
    return covariance / torch.outer(std, std)


def participation_ratio(eigenvalues: Tensor) -> Tensor:
    """(Σλ)² / Σλ² of (…, c) → (…), in 1 … c: how many directions the variance fills evenly.

    Source: "effective rank" of Tencent's GAE; SSVAE's few-mode bias is its opposite, so the direction is disputed.
    Tested against an independent float64 implementation.
    """
    return eigenvalues.sum(-1).square() / eigenvalues.square().sum(-1)


def top_share(eigenvalues: Tensor, k: int = 1) -> Tensor:
    """Share of the variance in the k largest of (…, c) → (…), in 0 … 1. White: k/c. Direction disputed."""
    return eigenvalues.topk(k, -1).values.sum(-1) / eigenvalues.sum(-1)


def condition_number(eigenvalues: Tensor) -> Tensor:
    """Largest over smallest of (…, c) → (…), from 1 on. Set by the weakest channel; no relation to generation known."""
    return eigenvalues.amax(-1) / eigenvalues.amin(-1).clamp_min(0)


def effective_rank(features: Tensor, centre: bool = True) -> Tensor:
    """exp(entropy of the shares of the singular values) / c: one vector an image (n, c) → scalar in (0, 1].

    features: latents averaged over their cells. Source: PAE (arXiv 2605.07915), which holds higher to be better and
    does not state the centring; SSVAE wants few modes. Too low for few images. Tested against an independent float64
    implementation, both centrings.
    """
    values = torch.linalg.svdvals(features - features.mean(0) if centre else features)
    shares = values / values.sum()
    return (-torch.xlogy(shares, shares).sum()).exp() / features.shape[1]
