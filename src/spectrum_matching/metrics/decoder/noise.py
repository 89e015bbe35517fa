"""Response of the decoder to noise on its latents: PSNR, sensitivity, and local perceptual consistency."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...records.analysis import NoisePoint
from ...records.measurement import Measurement
from ...seeding import indexed_noise
from ..estimates import estimate_mean
from ..images.pixels import psnr
from ..metric import PAE, Metric
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep

NOISE_PSNR = Metric(
    key="noise_psnr",
    title="PSNR after noise on the latents",
    unit="dB",
    better="higher",
    range="0 to 100",
    bounds=(0.0, 100.0),
    one_sided=True,
    source="VE loss (arXiv 2603.21085); PAE (arXiv 2605.07915)",
    evidence="PAE's form with LPIPS orders gFID with Spearman 0.95 over 8 variants of one model; none for PSNR",
    conventions="white noise of 0.1 standard deviation of each channel, against the clean output",
)
LPC = Metric(
    key="lpc",
    title="local perceptual consistency",
    unit="LPIPS",
    better="lower",
    range="from 0 on",
    bounds=(0.0, None),
    one_sided=True,
    source=f"{PAE}, whose code was not seen",
    evidence="Spearman 0.95 with gFID over 8 variants of one model; across models only drawn in a figure",
    conventions="steps of 0.1, 0.5, 1 and 2 lengths of the whole latent, weighted by 1/length, no projection back",
)

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Strengths of the noise, in standard deviations of each latent channel."""

NAMED_STRENGTH = 0.1
"""The strength that `noise_psnr` is measured at."""

CONSISTENCY_SCALES = (0.1, 0.5, 1.0, 2.0)
"""Lengths of the steps, in lengths of the latents."""


def noise_response(batch: DecoderBatch, strength: float) -> tuple[Tensor, Tensor]:
    """Return PSNR and sensitivity of D(z + s·σ_c·ε) compared with D(z), s being `strength`: (b,), (b,).

    PSNR in dB of clamped images, at most 100. Every strength takes the same ε. Sensitivity: mean over pixels and
    colours of (D(z + s·σ_c·ε) − D(z))², unclamped, over s²: 3·H·W times it has, as s → 0, the expectation
    Tr(J diag(σ²) Jᵀ) of the decoder's Jacobian J, the trace of the VE loss for latents of unit channel variance. A
    constant decoder wins, so read both beside the reconstruction's PSNR. Known by hand: an identity decoder, inside
    the images' range, has 20·log10(2) − 20·log10(s·σ) dB and sensitivity σ².
    """
    test, latents = batch.test, batch.latents
    stds = test.channel_stds.to(latents).view(-1, 1, 1)
    noise = indexed_noise(latents.shape, batch.numbers, "latent noise", test.seed).to(latents) * stds
    noisy = test.decode(latents + strength * noise)
    return psnr(noisy, batch.output), (noisy - batch.output).flatten(1).square().mean(1) / strength**2


def consistency_weights() -> Tensor:
    """Return weights of `CONSISTENCY_SCALES` in inverse proportion to the scale: (n,) float64, sum 1."""
    inverse = 1 / torch.tensor(CONSISTENCY_SCALES, dtype=torch.float64)
    return inverse / inverse.sum()


def latent_consistency(batch: DecoderBatch, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean distance of decode(z ± ρ‖z‖u) from decode(z): (b,). Eight decodings.

    u: a random unit vector of the whole map, one for each image and scale; ρ: `CONSISTENCY_SCALES`, weighted by
    `consistency_weights`; no projection back on a sphere. distance: images, images → (b,), LPIPS in the paper. A
    constant decoder has 0.
    """
    test, latents = batch.test, batch.latents
    length = latents.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    total = torch.zeros(len(latents), device=latents.device)
    for scale, weight in zip(CONSISTENCY_SCALES, consistency_weights().tolist(), strict=True):
        direction = indexed_noise(latents.shape, batch.numbers, "consistency", test.seed, scale).to(latents)
        direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        for sign in (1, -1):
            neighbour = test.decode(latents + sign * scale * length * direction)
            total += weight / 2 * distance(neighbour, batch.output)
    return total


def noise_points(sweep: DecoderSweep) -> tuple[NoisePoint, ...]:
    """Return the response by strength of the noise."""
    return tuple(NoisePoint(s, *map(estimate_mean, sweep.rows(f"noise_{s}").unbind(1))) for s in STRENGTHS)


def _collect(batch: DecoderBatch) -> Mapping[str, Tensor]:
    return {f"noise_{strength}": torch.stack(noise_response(batch, strength), dim=1) for strength in STRENGTHS}


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    return {"noise_psnr": estimate_mean(sweep.rows(f"noise_{NAMED_STRENGTH}")[:, 0])}


NOISE = DecoderMetric((NOISE_PSNR,), _numbers, _collect, passes=lambda test: len(STRENGTHS))


def _collect_consistency(batch: DecoderBatch) -> Mapping[str, Tensor]:
    perceptual = batch.test.perceptual
    if perceptual is None:
        return {}
    return {"lpc": latent_consistency(batch, lambda one, other: perceptual(one.clamp(-1, 1), other.clamp(-1, 1)))}


def _consistency(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    rows = sweep.rows("lpc")
    return {"lpc": estimate_mean(rows)} if len(rows) else {}


CONSISTENCY = DecoderMetric(
    (LPC,),
    _consistency,
    _collect_consistency,
    n_images=16,
    passes=lambda test: 2 * len(CONSISTENCY_SCALES) if test.perceptual else 0,
)
