"""Whether the normalisation that an autoencoder declares brings its latents to unit scale."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..latent_space import LatentSpace

TOLERANCE = 0.15
"""How far from 1 the standard deviation may be and still match."""

N_WORST = 3


@dataclass(frozen=True)
class NormalisationCheck:
    """What the declared normalisation leaves.

    mean, std: of all normalised values together. lowest_std, highest_std, highest_mean: over channels (the last of
    absolute values). worst_channels: up to three, by distance of the log of their std from 0. scaling_factor: the one
    number that would bring the raw latents to unit std; infinite where nothing varies. verdict: "nothing declared",
    "matches" (std within 15 % of 1) or "off by ×k", k being std.
    """

    mean: float
    std: float
    lowest_std: float
    highest_std: float
    highest_mean: float
    worst_channels: tuple[int, ...]
    scaling_factor: float
    verdict: str


def check_normalisation(space: LatentSpace, means: Tensor, stds: Tensor) -> NormalisationCheck:
    """From means and stds (c,) of the channels of `space.normalise(latents)`, all of equally many values.

    Diffusion schedules and priors assume unit variance, so a std of 1 is the target and a scale off by k is a signal to
    noise ratio off by k² at every noise level (Rombach et al., arXiv 2112.10752, section 4.3.2 and appendix G). It
    says that a scale is wrong, not that latents are good; channels of different std are the rule under one common
    factor.
    """
    means, stds = means.double().cpu(), stds.double().cpu()
    std = _overall(means, stds)
    scales, shifts = (torch.tensor(values, dtype=torch.float64) for values in (space.std, space.mean))
    raw_std = _overall(means * scales + shifts, stds * scales)
    return NormalisationCheck(
        mean=float(means.mean()),
        std=std,
        lowest_std=float(stds.min()),
        highest_std=float(stds.max()),
        highest_mean=float(means.abs().max()),
        worst_channels=tuple(_distance(stds).argsort(descending=True, stable=True)[:N_WORST].tolist()),
        scaling_factor=1 / raw_std if raw_std > 0 else math.inf,
        verdict=_verdict(space, std),
    )


def _overall(means: Tensor, stds: Tensor) -> float:
    """Standard deviation of all channels together."""
    return float((stds.square().mean() + means.var(correction=0)).sqrt())


def _distance(stds: Tensor) -> Tensor:
    return stds.clamp_min(torch.finfo(stds.dtype).tiny).log().abs()


def _verdict(space: LatentSpace, std: float) -> str:
    if space.convention == "none":
        return "nothing declared"
    return "matches" if abs(std - 1) <= TOLERANCE else f"off by ×{std:.3g}"
