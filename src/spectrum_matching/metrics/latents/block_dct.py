"""The profile of block-DCT amplitudes in JPEG's zig-zag order."""

from torch import Tensor

from ...spectrum.blocks import split_blocks
from ...spectrum.dct import dct2
from .concentration import zigzag_order


def block_amplitudes(latents: Tensor, block: int = 8) -> Tensor:
    """Sums over blocks of |DCT coefficient|, in zig-zag order: (b, c, h, w) → (b, c, block²).

    Blocks that do not fit whole within the grid are left out. ValueError for grids without a whole block.
    """
    h, w = (n - n % block for n in latents.shape[-2:])
    if not h * w:
        raise ValueError(f"a {latents.shape[-2]} x {latents.shape[-1]} grid has no block of {block} x {block} cells")
    amplitudes = dct2(split_blocks(latents[..., :h, :w], block)).abs().sum((2, 3))
    return amplitudes.flatten(-2)[..., zigzag_order(block, block).to(latents.device)]


def block_profile(amplitudes: Tensor) -> Tensor:
    """Amplitudes relative to DC: sums over images of `block_amplitudes` (c, n) → (n,); entry 0 is 1.

    Ratio of means for each channel, then the mean over channels. The mean of ratios, which the text could also mean,
    has no finite expectation. White noise of zero mean gives 1 everywhere, a constant 0 beyond DC. An offset of the
    channel hides in DC and makes every latent look smooth, so give both raw and standardised latents. Source: Improving
    the Diffusability of Autoencoders (arXiv 2502.14831), which wants the profile of the images and gives no correlation
    with generation. Tested against an independent float64 implementation.
    """
    return (amplitudes / amplitudes[:, :1]).mean(0)


def high_share(profile: Tensor) -> Tensor:
    """Mean of the upper half of a profile (n,), indices 32–63 at block 8. Our summary of it; not published."""
    return profile[len(profile) // 2 :].mean()
