"""Distributions over frequency bands: flatten by a power of frequency, normalize, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    Bands = Float[Tensor, "*batch bins"]

Variant = Literal["paper", "scale_free"]
VARIANTS = get_args(Variant)  # older torch.compile cannot trace get_args
"""How ESM compares band distributions: as the paper's code does, or independently of the latents' scale."""


def flatten_bands(bands: Bands, frequencies: Float[Tensor, " bins"], delta: float) -> Bands:
    """Flatten bands by a power of frequency: a 1/f^α spectrum becomes 1/f^(α − delta).

    Returns bands · frequencies^delta, (…, bins).
    """
    return bands * frequencies.to(bands) ** delta


def spectrum_distribution(bands: Bands, log_power: bool = False) -> Bands:
    """Normalize bands to shares that sum to 1 over the last axis: (…, bins) → (…, bins).

    log_power: take log(1 + power) first, which makes the shares depend on the amplitude of the signal. A signal with
    no power has no distribution and gives zeros; a sum below 1e-20 counts as 1e-20, which keeps gradients finite.
    """
    if log_power:
        bands = torch.log1p(bands)
    return bands / bands.sum(-1, keepdim=True).clamp_min(1e-20)


def kl_divergence(target: Bands, actual: Bands) -> Float[Tensor, "*batch"]:
    """Return KL(target ‖ actual) in nats over the last axis: (…, bins), (…, bins) → (…).

    Shares of `actual` below 1e-12 count as 1e-12, so that an empty band costs much but not infinitely much.
    """
    return (torch.xlogy(target, target) - target * actual.clamp_min(1e-12).log()).sum(-1)
