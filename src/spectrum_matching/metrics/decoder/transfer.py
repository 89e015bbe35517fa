"""Transfer of frequency bands from latents to images: the decoder's response to a disturbance of one band.

Frequencies are physical: coefficient (u, v) of a latent grid and of its image is the same number of half waves across
the picture, u/2h and v/2w cycles per latent position, whatever their numbers of samples.
"""

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ...records.analysis import Transfer
from ...records.measurement import Measurement
from ...seeding import indexed_noise
from ...spectrum.dct import dct2, idct2
from ...spectrum.power import radial_bins
from ..estimates import estimate_mean
from ..metric import SPECTRUM_MATCHING, Metric
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep

DIAGONAL = Metric(
    key="transfer_diagonal",
    title="decoder response that stays in its band",
    unit="share",
    better="higher",
    range="0 to 1",
    bounds=(0.0, 1.0),
    one_sided=True,
    source="this package, to test a premise of " + SPECTRUM_MATCHING,
    conventions="noise of one latent band at a time, 0.1 standard deviation of each channel; bands of equal frequency",
)

N_RINGS = 8
STRENGTH = 0.1
"""RMS of the disturbance in standard deviations of each latent channel."""


def filled_rings(grid: tuple[int, int], at_most: int = N_RINGS) -> int:
    """Return the largest number of equal-width rings on an h × w grid that leaves none of them empty."""
    return next(n for n in range(at_most, 0, -1) if radial_bins(*grid, n, "frequency").counts.min() > 0)


def ring_edges(grid: tuple[int, int], n_rings: int) -> Tensor:
    """Return upper edges of equal-width rings up to the corner of a grid, in cycles per sample: (n_rings,) float64."""
    corner = math.hypot(*((n - 1) / (2 * n) for n in grid))
    return torch.arange(1, n_rings + 1, dtype=torch.float64) * corner / n_rings


@lru_cache(maxsize=8)
def image_rings(size: tuple[int, int], grid: tuple[int, int], n_rings: int) -> Tensor:
    """Return the band of each image coefficient: (H, W) int64 in 0 … n_rings, the last beyond the grid's corner."""
    (h, w), (H, W) = grid, size
    # Integers, as in `radial_bins`: what lies on an edge must fall on the same side in latents and images.
    squared = (w * torch.arange(H)[:, None]).square() + (h * torch.arange(W)).square()
    corner = (w * (h - 1)) ** 2 + (h * (w - 1)) ** 2
    rings = (n_rings**2 * squared // max(corner, 1)).double().sqrt().long().clamp_max(n_rings - 1)
    return torch.where(squared > corner, n_rings, rings)


def band_response(batch: DecoderBatch) -> Tensor:
    """Return the mean squared response of an image value by latent ring and image band: (b, n, n + 1), float64, CPU.

    For each ring, decode(z + d) − decode(z), d a random field of that ring alone whose RMS in each channel is exactly
    `STRENGTH` standard deviations of the channel, divided by `STRENGTH`². n decodings, n being `filled_rings`.
    """
    test, latents, grid = batch.test, batch.latents, (batch.latents.shape[-2], batch.latents.shape[-1])
    n = filled_rings(grid)
    rings = radial_bins(*grid, n, "frequency").rings
    bands = image_rings((batch.output.shape[-2], batch.output.shape[-1]), grid, n).flatten()
    white = indexed_noise(latents.shape, batch.numbers, "latent bands", test.seed)
    rows = torch.zeros(len(latents), n, n + 1, dtype=torch.float64)
    for ring in range(n):
        coefficients = white * (rings == ring)
        rms = coefficients.square().mean((-2, -1), keepdim=True).sqrt()
        field = idct2(coefficients / rms).to(latents) * test.channel_stds.to(latents).view(-1, 1, 1)
        response = test.decode(latents + STRENGTH * field) - batch.output
        power = dct2(response).square().mean(1).flatten(1).cpu().double() / bands.numel()
        rows[:, ring].index_add_(1, bands, power / STRENGTH**2)
    return rows


def band_transfer(rows: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Transfer:
    """Return the transfer matrix from `band_response` of all images: (n_images, n, n + 1), grid (h, w), size (H, W).

    Shares are means over images of each image's own, 0 where the decoder does not respond. A decoder that keeps
    frequencies apart, as decoding spectrum matching requires, has a diagonal share near 1; one that answers with white
    noise spreads evenly, nearly all beyond the grid. A decoder that blurs keeps frequencies apart too, so read it
    beside PSNR, and the gains beside the shares. FreqWarm (arXiv 2511.22249) disturbs bands likewise. Known by hand:
    nearest upsampling by 2 keeps cos²(πu/4h)·cos²(πv/4w) of coefficient (u, v).
    """
    n = rows.shape[1]
    bands = image_rings(size, grid, n)
    shares = rows / rows.sum(-1, keepdim=True).clamp_min(1e-30)
    return Transfer(
        frequencies=tuple(ring_edges(grid, n).tolist()),
        shares=tuple(tuple(row) for row in shares.mean(0).tolist()),
        even=tuple((bands.flatten().bincount(minlength=n + 1).double() / bands.numel()).tolist()),
        gains=tuple(rows.sum(-1).mean(0).tolist()),
        diagonal=estimate_mean(shares.diagonal(dim1=1, dim2=2).mean(1)),
        strength=STRENGTH,
        n_images=len(rows),
    )


def transfer_matrix(sweep: DecoderSweep) -> Transfer:
    """Return the transfer matrix of the tested images."""
    return band_transfer(sweep.rows("transfer"), sweep.test.grid, sweep.test.size)


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    return {"transfer_diagonal": transfer_matrix(sweep).diagonal}


TRANSFER = DecoderMetric(
    (DIAGONAL,),
    _numbers,
    lambda batch: {"transfer": band_response(batch)},
    n_images=16,
    passes=lambda test: filled_rings(test.grid),
)
