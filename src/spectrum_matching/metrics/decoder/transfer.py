"""From which latent band to which image band: what the decoder makes of a disturbance of one frequency band.

Frequencies are physical: coefficient (u, v) of a latent grid and of the image it stands for is the same number of half
waves across the picture, u/2h and v/2w cycles per latent cell, whatever their numbers of samples.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...spectrum.dct import dct2, idct2
from ...spectrum.power import radial_bins
from .noise import placed_noise

N_RINGS = 8
STRENGTH = 0.1
"""RMS of the disturbance in standard deviations of each latent channel."""


class Transfer(NamedTuple):
    """n latent rings by n + 1 image bands: the same n rings, then all that lies beyond the latent grid's corner.

    edges (n,): upper edge of each ring in cycles per latent cell. shares (n, n + 1): of each ring's response by image
    band, rows sum to 1 (0 where the decoder does not answer). gains (n,): mean square of an image value's response over
    that of the disturbance in units of each channel's standard deviation. white (n + 1,): shares of white noise.
    diagonal_share: mean of the shares that stay in their band.
    """

    edges: Tensor
    shares: Tensor
    gains: Tensor
    white: Tensor
    diagonal_share: float


def filled_rings(grid: tuple[int, int], at_most: int = N_RINGS) -> int:
    """The largest number of equal-width rings on an h × w grid that leaves none of them empty."""
    return next(n for n in range(at_most, 0, -1) if radial_bins(*grid, n, "frequency").counts.min() > 0)


def ring_edges(grid: tuple[int, int], n_rings: int) -> Tensor:
    """Upper edges of equal-width rings up to the corner of an h × w grid, in cycles per sample: (n_rings,) float64."""
    corner = math.hypot(*((n - 1) / (2 * n) for n in grid))
    return torch.arange(1, n_rings + 1, dtype=torch.float64) * corner / n_rings


@lru_cache(maxsize=8)
def image_rings(size: tuple[int, int], grid: tuple[int, int], n_rings: int) -> Tensor:
    """The band of each image coefficient: (H, W) int64 in 0 … n_rings, the last being all beyond the grid's corner."""
    (h, w), (H, W) = grid, size
    # Integers, as in `radial_bins`: what lies on an edge must fall on one side in latents and images alike.
    squared = (w * torch.arange(H)[:, None]).square() + (h * torch.arange(W)).square()
    corner = (w * (h - 1)) ** 2 + (h * (w - 1)) ** 2
    rings = (n_rings**2 * squared // max(corner, 1)).double().sqrt().long().clamp_max(n_rings - 1)
    return torch.where(squared > corner, n_rings, rings)


def band_response(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    output: Tensor,
    channel_stds: Tensor,
    *,
    first: int,
    seed: int,
    n_rings: int = N_RINGS,
) -> Tensor:
    """Mean squared response of an image value, by latent ring and image band: (b, n, n + 1), float64 on the CPU.

    For each ring, decode(z + d) − decode(z), d a random field of that ring alone whose RMS in each channel is exactly
    `STRENGTH` · channel_stds (c,), divided by `STRENGTH`². output: decode(latents). n decodings, n being
    `filled_rings`. Each image's field is its own by its place in the set (first: place of the first one).
    """
    h, w = latents.shape[-2:]
    n = filled_rings((h, w), n_rings)
    rings = radial_bins(h, w, n, "frequency").rings
    bands = image_rings((output.shape[-2], output.shape[-1]), (h, w), n).flatten()
    white = placed_noise(latents.shape, first, "latent bands", seed)
    rows = torch.zeros(len(latents), n, n + 1, dtype=torch.float64)
    for ring in range(n):
        coefficients = white * (rings == ring)
        rms = coefficients.square().mean((-2, -1), keepdim=True).sqrt()
        field = idct2(coefficients / rms).to(latents) * channel_stds.to(latents).view(-1, 1, 1)
        response = decode(latents + STRENGTH * field).float() - output.float()
        power = dct2(response).square().mean(1).flatten(1).cpu().double() / bands.numel()
        rows[:, ring].index_add_(1, bands, power / STRENGTH**2)
    return rows


def band_transfer(rows: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Transfer:
    """The transfer matrix from `band_response` of all images: (n_images, n, n + 1), grid (h, w), size (H, W).

    shares and diagonal_share: a mean over images of each image's own. A decoder that keeps frequencies apart, as
    decoding spectrum matching asks of it, has a diagonal share near 1; one that answers with white noise has the
    shares `white`, nearly all beyond. One-sided: a decoder that blurs keeps frequencies apart, so read it beside PSNR,
    and the gains beside the shares. No relation to generation is known: it tests the premise of decoding spectrum
    matching (arXiv 2603.14645) in the frequency domain; FreqWarm (arXiv 2511.22249) disturbs bands likewise. Known by
    hand: nearest upsampling by 2 keeps cos²(πu/4h)·cos²(πv/4w) of coefficient (u, v).
    """
    n = rows.shape[1]
    bands = image_rings(size, grid, n)
    return Transfer(
        edges=ring_edges(grid, n),
        shares=_shares(rows).mean(0),
        gains=rows.sum(-1).mean(0),
        white=bands.flatten().bincount(minlength=n + 1).double() / bands.numel(),
        diagonal_share=float(diagonal_shares(rows).mean()),
    )


def diagonal_shares(rows: Tensor) -> Tensor:
    """For each image, the mean over rings of the share of the response that stays in its band: (n_images,)."""
    return _shares(rows).diagonal(dim1=1, dim2=2).mean(1)


def _shares(rows: Tensor) -> Tensor:
    return rows / rows.sum(-1, keepdim=True).clamp_min(1e-30)
