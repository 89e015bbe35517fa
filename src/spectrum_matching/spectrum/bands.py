"""Distributions over frequency bands: flattening by a power of frequency, normalising, comparing."""

import torch
from torch import Tensor


def flatten_bands(bands: Tensor, frequencies: Tensor, delta: float) -> Tensor:
    """bands · frequencies^delta: (…, bins), (bins,) → (…, bins). A 1/f^α spectrum becomes 1/f^(α − delta)."""
    return bands * frequencies.to(bands) ** delta


def spectrum_distribution(bands: Tensor, log_power: bool = False) -> Tensor:
    """Bands as shares that sum to 1 over the last axis: (…, bins) → (…, bins).

    log_power: take log(1 + power) first, which makes the shares depend on the amplitude of the signal. A signal with
    no power has no distribution and gives zeros; a sum below 1e-20 counts as 1e-20, which keeps gradients finite.
    """
    if log_power:
        bands = torch.log1p(bands)
    return bands / bands.sum(-1, keepdim=True).clamp_min(1e-20)


def kl_divergence(target: Tensor, actual: Tensor) -> Tensor:
    """KL(target ‖ actual) in nats over the last axis: (…, bins), (…, bins) → (…).

    Shares of `actual` below 1e-12 count as 1e-12, so that an empty band costs much but not infinitely much.
    """
    return (torch.xlogy(target, target) - target * actual.clamp_min(1e-12).log()).sum(-1)
