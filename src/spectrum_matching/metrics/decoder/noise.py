"""Response of the decoder to white noise on its latents."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.analysis import NoisePoint
from ...records.measurement import Measurement
from ...seeding import indexed_noise
from ..estimates import estimate_mean
from ..images.pixels import psnr
from ..metric import Metric
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep

NOISE_PSNR = Metric(
    key="noise_psnr",
    title="PSNR after noise on the latents",
    unit="dB",
    better="higher",
    range="0 to 100",
    one_sided=True,
    source="VE loss (arXiv 2603.21085); PAE (arXiv 2605.07915)",
    evidence="PAE's form with LPIPS orders gFID with Spearman 0.95 over 8 variants of one model; none for PSNR",
    conventions="white noise of 0.1 standard deviation of each channel, against the clean output",
)

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Strengths of the noise, in standard deviations of each latent channel."""

NAMED_STRENGTH = 0.1
"""The strength that `noise_psnr` is measured at."""


class NoiseResponse(NamedTuple):
    """psnr (b,), dB: decoded noisy latents against decoded clean ones. sensitivity (b,): squared change over s²."""

    psnr: Tensor
    sensitivity: Tensor


def noise_response(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    output: Tensor,
    channel_stds: Tensor,
    strength: float,
    *,
    first: int,
    seed: int,
) -> NoiseResponse:
    """Compare decode(z + s·σ_c·ε) with decode(z) = `output` (b, 3, H, W), for latents (b, c, h, w), channel_stds (c,).

    psnr: clamped images, at most 100 dB. Every strength s takes the same ε. sensitivity: mean over pixels and colours
    of (D(z + s·σ_c·ε) − D(z))², unclamped, over s²: 3·H·W times it has, as s → 0, the expectation Tr(J diag(σ²) Jᵀ) of
    the decoder's Jacobian J, the trace of the VE loss for latents of unit channel variance. A constant decoder wins, so
    read both beside the reconstruction's PSNR. Known by hand: an identity decoder, inside the images' range, has
    20·log10(2) − 20·log10(s·σ) dB and sensitivity σ².
    """
    stds = channel_stds.to(latents).view(-1, 1, 1)
    noise = indexed_noise(latents.shape, first, "latent noise", seed).to(latents) * stds
    noisy = decode(latents + strength * noise).float()
    response = (noisy - output.float()).flatten(1).square().mean(1)
    return NoiseResponse(psnr(noisy, output), response / strength**2)


def noise_points(sweep: DecoderSweep) -> tuple[NoisePoint, ...]:
    """Return the response by strength of the noise."""
    return tuple(NoisePoint(s, *map(estimate_mean, sweep.rows(f"noise_{s}").unbind(1))) for s in STRENGTHS)


def _collect(batch: DecoderBatch) -> Mapping[str, Tensor]:
    test, rows = batch.test, {}
    for s in STRENGTHS:
        response = noise_response(
            test.decode, batch.latents, batch.output, test.channel_stds, s, first=batch.first, seed=test.seed
        )
        rows[f"noise_{s}"] = torch.stack(response, dim=1)
    return rows


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    return {"noise_psnr": estimate_mean(sweep.rows(f"noise_{NAMED_STRENGTH}")[:, 0])}


NOISE = DecoderMetric((NOISE_PSNR,), _numbers, _collect)
