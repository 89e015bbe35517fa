"""Classifier-free guidance, limited to an interval of times: a denoiser with its labels becomes a `Predict`."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .denoiser import Denoiser, Predict
from .objective import NO_LABEL

TOLERANCE = 1e-6  # so that the rounding of t to float32 does not decide whether an end belongs to the interval


def guided(
    denoiser: Denoiser, labels: Tensor | None, scale: float = 1.0, interval: tuple[float, float] = (0.0, 1.0)
) -> Predict:
    """unconditional + scale · (conditional − unconditional) where low ≤ t ≤ high, elsewhere the conditional alone.

    labels (b,) int64, or None for a network without. scale 1: no guidance. interval: (low, high) in t, which all images
    of a call share. Within it one batch of 2·b is evaluated, elsewhere and at scale 1 one of b. Any prediction may be
    guided: at a given x_t each is linear in the others. ValueError for a scale without labels, or an interval that is
    not in [0, 1]. Sources: arXiv 2207.12598, 2404.07724.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"expected a guidance interval (low, high) with 0 <= low <= high <= 1, got {interval}")
    if not math.isfinite(scale):
        raise ValueError(f"expected a finite guidance scale, got {scale}")
    if scale != 1 and labels is None:
        raise ValueError(f"guidance of scale {scale:g} needs labels, and there are none: use scale 1")

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        # Reading t waits for the accelerator, so it is not read where it decides nothing.
        if labels is None or scale == 1 or not (interval == (0, 1) or _within(t[0].item(), interval)):
            return denoiser(noisy, t, labels)[0]
        both = torch.cat([labels, torch.full_like(labels, NO_LABEL)])
        prediction = denoiser(torch.cat([noisy, noisy]), torch.cat([t, t]), both)[0]
        conditional, unconditional = prediction.to(noisy.dtype).chunk(2)
        return torch.lerp(unconditional, conditional, scale)

    return predict


def guided_evaluations(asked: Sequence[float], scale: float, interval: tuple[float, float]) -> int:
    """Evaluations an image of a sampler that asks at these t (`samplers.asked_times`), two where guidance acts."""
    return len(asked) + (sum(_within(t, interval) for t in asked) if scale != 1 else 0)


def _within(t: float, interval: tuple[float, float]) -> bool:
    return interval[0] - TOLERANCE <= t <= interval[1] + TOLERANCE
