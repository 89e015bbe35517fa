"""How the decoder answers to white noise on its latents."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...seeding import seeded
from ..images.pixels import psnr

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of the noise, in standard deviations of each latent channel."""

CONSISTENCY_SCALES = (0.1, 0.5, 1.0, 2.0)
"""Lengths of PAE's steps, in lengths of the latents."""


class NoiseResponse(NamedTuple):
    """psnr (b,), dB: decoded noisy latents against decoded clean ones. sensitivity (b,): squared change over s²."""

    psnr: Tensor
    sensitivity: Tensor


def placed_noise(shape: Sequence[int], first: int, *position: object) -> Tensor:
    """Standard normal (b, …), float32 on the CPU: each image's own by its place in the set, whatever its batch.

    first: place of the first image. position: what else decides the numbers, the seed among it.
    """
    places = range(first, first + shape[0])
    return torch.stack([torch.randn(*shape[1:], generator=seeded(*position, place)) for place in places])


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
    """decode(z + s·σ_c·ε) against decode(z) = `output` (b, 3, H, W), for latents (b, c, h, w), channel_stds (c,).

    psnr: clamped images, at most 100 dB; higher is more robust. Every strength s takes the same ε. sensitivity: mean
    over pixels and colours of (D(z + s·σ_c·ε) − D(z))², unclamped, over s²: 3·H·W times it has, as s → 0, the
    expectation Tr(J diag(σ²) Jᵀ) of the decoder's Jacobian J, the trace of the VE loss for latents of unit channel
    variance; lower is more robust. One-sided: a constant decoder wins, so read both beside the reconstruction's PSNR.
    Sources: VE loss (arXiv 2603.21085); PAE (arXiv 2605.07915) with LPIPS. Evidence: PAE's form orders gFID with a
    Spearman coefficient of 0.95 over 8 variants of one autoencoder; none for this one. Known by hand: an identity
    decoder, inside the images' range, has 20·log10(2) − 20·log10(s·σ) dB and sensitivity σ².
    """
    noise = placed_noise(latents.shape, first, "latent noise", seed).to(latents) * channel_stds.to(latents).view(
        -1, 1, 1
    )
    noisy = decode(latents + strength * noise).float()
    response = (noisy - output.float()).flatten(1).square().mean(1)
    return NoiseResponse(psnr(noisy, output), response / strength**2)


def consistency_weights(scales: Sequence[float] = CONSISTENCY_SCALES) -> Tensor:
    """Weights of `latent_consistency`, in inverse proportion to the scale: (n,) float64, sum 1."""
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
    """PAE's local perceptual consistency: mean distance of decode(z ± ρ‖z‖u) from decode(z) = `output` → (b,).

    u: a random unit vector of the whole map (one for each image and scale); ρ: `CONSISTENCY_SCALES`, weighted by
    `consistency_weights`; no projection back on a sphere. distance: images, images → (b,), LPIPS in the paper. Lower
    is held to be better, from 0. One-sided: a constant decoder has 0. Eight decodings. Source: PAE (arXiv 2605.07915),
    whose code was not seen. Evidence: Spearman 0.95 with gFID over 8 variants of one autoencoder, n = 8.
    """
    length = latents.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    total = torch.zeros(len(latents), device=latents.device)
    for scale, weight in zip(CONSISTENCY_SCALES, consistency_weights().tolist(), strict=True):
        direction = placed_noise(latents.shape, first, "consistency", seed, scale).to(latents)
        direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        for sign in (1, -1):
            moved = decode(latents + sign * scale * length * direction).float()
            total += weight / 2 * distance(moved, output.float())
    return total
