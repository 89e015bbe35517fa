"""Low-pass decoding: what low-passed latents decode to, compared with the low-passed output."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.analysis import LowpassPoint
from ...records.measurement import Measurement
from ...spectrum.block_lowpass import block_lowpass
from ..estimates import estimate_mean
from ..images.pixels import psnr
from ..metric import SPECTRUM_MATCHING, Metric
from .sweep import DecoderBatch, DecoderMetric, DecoderSweep, DecoderTest

LOWPASS_GAP = Metric(
    key="lowpass_gap",
    title="low-pass alignment gap",
    unit="dB",
    better="lower",
    range="about 0 to 20",
    one_sided=True,
    source=f"{SPECTRUM_MATCHING}; in PSNR for want of images enough for FID",
    conventions="PSNR of the low-passed output minus that of the decoded low-passed latents; 7 of 15 diagonals kept",
)

KEEP, BLOCK = (15, 7, 5, 3), 8
"""Diagonals kept at each strength, and the side of the blocks whose diagonals they are."""


class Lowpassed(NamedTuple):
    """Images (b, 3, H, W) after one low-pass f: image f(x), decoded decode(f(z)), aligned f(decode(z))."""

    image: Tensor
    decoded: Tensor
    aligned: Tensor


def lowpass(
    decode: Callable[[Tensor], Tensor], latents: Tensor, output: Tensor, images: Tensor, keep: int, block: int
) -> Lowpassed:
    """Apply one `block_lowpass` to latents, output and images; `output` is decode(latents), reused for keep = all."""
    lowpassed = block_lowpass(latents, keep, block)
    decoded = output if lowpassed is latents else decode(lowpassed).float()
    return Lowpassed(block_lowpass(images, keep, block), decoded, block_lowpass(output, keep, block))


def legal_block(grid: tuple[int, int], block: int = BLOCK) -> int:
    """Return `block` or the largest of its halves, quarters, … that divides the grid; 1 where there is none."""
    while block > 1 and (grid[0] % block or grid[1] % block):
        block //= 2
    return block


def scaled_strengths(keep: Sequence[int], block: int, legal: int) -> tuple[int, ...]:
    """Return cut-offs of blocks of `legal`, each once: the nearest ones no lower than `keep` diagonals of `block`."""
    return tuple(dict.fromkeys(min(math.ceil(k * legal / block), 2 * legal - 1) for k in keep))


def lowpass_strengths(grid: tuple[int, int]) -> tuple[int, ...]:
    """Return the diagonals kept on a latent grid, of blocks of `legal_block`; empty where it has no blocks."""
    block = legal_block(grid)
    return scaled_strengths(KEEP, BLOCK, block) if block > 1 else ()


def lowpass_points(sweep: DecoderSweep) -> tuple[LowpassPoint, ...]:
    """Return the low-pass decoding curve by strength."""
    return tuple(
        LowpassPoint(keep, *map(estimate_mean, sweep.rows(f"lowpass_{keep}").unbind(1)))
        for keep in lowpass_strengths(sweep.test.grid)
    )


def _collect(batch: DecoderBatch) -> Mapping[str, Tensor]:
    block, side, rows = legal_block(batch.test.grid), batch.test.grid[0], {}
    if block == 1:
        batch.note(
            f"No low-pass curve: a {side} × {side} latent grid has no blocks of 2 positions or more that fill it."
        )
    elif block < BLOCK:
        batch.note(f"Low-pass in blocks of {block}: a {side} × {side} latent grid has no whole blocks of {BLOCK}.")
    for keep in lowpass_strengths(batch.test.grid):
        result = lowpass(batch.test.decode, batch.latents, batch.output, batch.images, keep, block)
        decoded, aligned = psnr(result.decoded, result.image), psnr(result.aligned, result.image)
        removed = psnr(result.image, batch.images)
        rows[f"lowpass_{keep}"] = torch.stack([decoded, aligned, removed, aligned - decoded], dim=1)
    return rows


def _numbers(sweep: DecoderSweep) -> Mapping[str, Measurement]:
    everything = 2 * legal_block(sweep.test.grid) - 1
    gaps = [point.gap for point in lowpass_points(sweep) if point.keep < everything]
    return {"lowpass_gap": gaps[0] if gaps else Measurement(None, refused="the latent grid has no blocks")}


def _passes(test: DecoderTest) -> int:
    """Return the number of strengths but the one that keeps everything, whose output is there already."""
    return sum(keep < 2 * legal_block(test.grid) - 1 for keep in lowpass_strengths(test.grid))


LOWPASS = DecoderMetric((LOWPASS_GAP,), _numbers, _collect, passes=_passes)
