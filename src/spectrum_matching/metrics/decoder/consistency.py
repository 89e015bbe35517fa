"""Local perceptual consistency: the perceptual distance of decoded neighbours of a latent."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...seeding import indexed_noise
from ..estimates import estimate_mean
from ..metric import PAE, Metric
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep

LPC = Metric(
    key="lpc",
    title="local perceptual consistency",
    unit="LPIPS",
    better="lower",
    range="from 0 on",
    one_sided=True,
    source=f"{PAE}, whose code was not seen",
    evidence="Spearman 0.95 with gFID over 8 variants of one model; across models only drawn in a figure",
    conventions="steps of 0.1, 0.5, 1 and 2 lengths of the whole latent, weighted by 1/length, no projection back",
)

CONSISTENCY_SCALES = (0.1, 0.5, 1.0, 2.0)
"""Lengths of the steps, in lengths of the latents."""


def consistency_weights(scales: Sequence[float] = CONSISTENCY_SCALES) -> Tensor:
    """Return weights in inverse proportion to the scale: (n,) float64, sum 1."""
    inverse = 1 / torch.tensor(scales, dtype=torch.float64)
    return inverse / inverse.sum()


def latent_consistency(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    output: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    *,
    first: int,
    seed: int,
) -> Tensor:
    """Return the mean distance of decode(z ± ρ‖z‖u) from decode(z) = `output`: (b,).

    u: a random unit vector of the whole map, one for each image and scale; ρ: `CONSISTENCY_SCALES`, weighted by
    `consistency_weights`; no projection back on a sphere. distance: images, images → (b,), LPIPS in the paper. A
    constant decoder has 0. Eight decodings.
    """
    length = latents.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    total = torch.zeros(len(latents), device=latents.device)
    for scale, weight in zip(CONSISTENCY_SCALES, consistency_weights().tolist(), strict=True):
        direction = indexed_noise(latents.shape, first, "consistency", seed, scale).to(latents)
        direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        for sign in (1, -1):
            neighbour = decode(latents + sign * scale * length * direction).float()
            total += weight / 2 * distance(neighbour, output.float())
    return total


def _collect(batch: DecoderBatch) -> Mapping[str, Tensor]:
    test, perceptual = batch.test, batch.test.perceptual
    if perceptual is None:
        return {}

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return perceptual(one.clamp(-1, 1), other.clamp(-1, 1))

    kwargs = {"first": batch.first, "seed": test.seed}
    return {"lpc": latent_consistency(test.decode, batch.latents, batch.output, distance, **kwargs)}


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    rows = sweep.rows("lpc")
    return {"lpc": estimate_mean(rows)} if len(rows) else {}


CONSISTENCY = DecoderMetric((LPC,), _numbers, _collect, n_images=16)
