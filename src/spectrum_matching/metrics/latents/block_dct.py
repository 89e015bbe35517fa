"""The profile of block-DCT amplitudes in JPEG's zig-zag order."""

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...spectrum.block_lowpass import split_blocks
from ...spectrum.dct import dct2
from ..estimates import jackknife_scalar
from ..metric import NONE, STANDARDISED, Metric
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

BLOCK_DCT_HIGH = Metric(
    key="block_dct_high",
    title="block-DCT amplitude, upper half",
    unit="relative to DC",
    better="target",
    range="from 0 on; to be read beside the images' own",
    bounds=(0.0, None),
    source="Improving the Diffusability of Autoencoders (arXiv 2502.14831); this summary of its profile is ours",
    evidence=NONE + "; one model went from FID 3.07 to 2.49 when its profile came nearer to the images'",
    conventions=f"8 × 8 positions, ratio of mean amplitudes, zig-zag indices 32–63, mean over channels; {STANDARDISED}",
)

BLOCK = 8


def zigzag_order(h: int, w: int) -> Tensor:
    """Return the coefficients by diagonals from DC on, in JPEG's order: indices u·w + v, (h·w,)."""
    coefficients = [(u, v) for u in range(h) for v in range(w)]
    coefficients.sort(key=lambda uv: (sum(uv), uv[0] if sum(uv) % 2 else -uv[0]))
    return torch.tensor([u * w + v for u, v in coefficients])


def block_amplitudes(latents: Tensor, block: int = BLOCK) -> Tensor:
    """Return sums over blocks of |DCT coefficient|, in zig-zag order: (b, c, h, w) → (b, c, block²).

    Blocks that do not fit whole within the grid are left out.

    Raises:
        ValueError: for a grid without a whole block.
    """
    h, w = (n - n % block for n in latents.shape[-2:])
    if not h * w:
        raise ValueError(
            f"a {latents.shape[-2]} x {latents.shape[-1]} grid has no block of {block} x {block} positions"
        )
    amplitudes = dct2(split_blocks(latents[..., :h, :w], block)).abs().sum((2, 3))
    return amplitudes.flatten(-2)[..., zigzag_order(block, block).to(latents.device)]


def block_profile(amplitudes: Tensor) -> Tensor:
    """Return amplitudes relative to DC from sums over images of `block_amplitudes`: (c, n) → (n,); entry 0 is 1.

    Ratio of means for each channel, then the mean over channels. The mean of ratios, which the paper's text could also
    mean, has no finite expectation. White noise of zero mean gives 1 everywhere, a constant 0 beyond DC. An offset of
    the channel hides in DC and makes every latent look smooth.
    """
    return (amplitudes / amplitudes[:, :1]).mean(0)


def high_share(profile: Tensor) -> Tensor:
    """Return the mean of the upper half of a profile (n,), indices 32–63 at block 8."""
    return profile[len(profile) // 2 :].mean()


def latent_profile(sweep: LatentSweep) -> Tensor:
    """Return the profile of standardised latents (64,), empty where the grid has no whole block."""
    return torch.empty(0) if min(sweep.grid) < BLOCK else block_profile(sweep.sums("amplitudes")[0].sum(0))


def _collect(batch: StandardisedBatch) -> BatchRows:
    if min(batch.latents.shape[-2:]) < BLOCK:
        return BatchRows()
    return BatchRows(summed={"amplitudes": block_amplitudes(batch.latents)})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    profile = latent_profile(sweep)
    if not len(profile):
        number = Measurement(None, refused=f"a {sweep.size} grid has no block of 8 x 8 positions")
    elif not profile.isfinite().all():
        number = Measurement(None, refused="a channel has no power in the blocks' means to compare with")
    else:
        groups = sweep.sums("amplitudes")
        number = jackknife_scalar(lambda sums, n: high_share(block_profile(sums)), *groups, white=1.0)
    return {"block_dct_high": number}


BLOCK_DCT = LatentMetric((BLOCK_DCT_HIGH,), _numbers, _collect)
