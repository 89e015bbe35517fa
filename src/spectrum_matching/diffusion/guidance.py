"""Classifier-free guidance within an interval of times: binds a denoiser and its labels to a `Predict`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .objective import NO_LABEL
from .path import Denoiser, Predict

if TYPE_CHECKING:
    from jaxtyping import Int

TOLERANCE = 1e-6  # so that the rounding of t to float32 does not decide whether an end belongs to the interval


def guided(
    denoiser: Denoiser,
    labels: Int[Tensor, " b"] | None,
    scale: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
    channels: int | None = None,
) -> Predict:
    """Return unconditional + scale · (conditional − unconditional) for low ≤ t ≤ high, else the conditional alone.

    labels (b,) int64, or None for a network without. scale 1: no guidance. interval: (low, high) in t, which all images
    of a call share. Within it one batch of 2·b is evaluated, elsewhere and at scale 1 one of b. Any prediction may be
    guided: at a given x_t each is linear in the others. channels: the first ones that are guided, the others are the
    conditional prediction's; None: all. SiT's and LightningDiT's code guide 3, REPA's and U-ViT's all. Sources: arXiv
    2207.12598, 2404.07724.

    Raises:
        ValueError: for a scale without labels, an interval outside [0, 1], or channels below 1.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected a guidance interval (low, high) with 0 <= low <= high <= 1, got {interval}")
    if not math.isfinite(scale):
        raise ValueError(f"expected a finite guidance scale, got {scale}")
    if channels is not None and channels < 1:
        raise ValueError(f"expected at least one guided channel, got {channels}")
    if scale != 1 and labels is None:
        raise ValueError(f"guidance of scale {scale:g} needs labels, and there are none: use scale 1")

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        # Reading t waits for the accelerator, so it is not read where it decides nothing.
        if labels is None or scale == 1 or not (interval == (0, 1) or is_guided(t[0].item(), interval)):
            return denoiser(noisy, t, labels)[0]
        both = torch.cat([labels, torch.full_like(labels, NO_LABEL)])
        prediction = denoiser(torch.cat([noisy, noisy]), torch.cat([t, t]), both)[0]
        conditional, unconditional = prediction.to(noisy.dtype).chunk(2)
        guided = torch.lerp(unconditional, conditional, scale)
        return guided if channels is None else torch.cat([guided[:, :channels], conditional[:, channels:]], dim=1)

    return predict


def guided_evaluations(times: Sequence[float], scale: float, interval: tuple[float, float]) -> int:
    """Return the evaluations per image at these t (`samplers.evaluation_times`), two where guidance acts."""
    return len(times) + (sum(is_guided(t, interval) for t in times) if scale != 1 else 0)


def is_guided(t: float, interval: tuple[float, float]) -> bool:
    """Return whether t lies within a guidance interval, up to the rounding of float32."""
    return interval[0] - TOLERANCE <= t <= interval[1] + TOLERANCE
