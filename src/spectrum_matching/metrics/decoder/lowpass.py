"""What a decoder makes of low-passed latents, beside what it would make if it kept frequencies apart."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from ...spectrum.blocks import block_lowpass


class Lowpassed(NamedTuple):
    """Images (b, 3, H, W) after one move. image: move(x). decoded: decode(move(z)). aligned: move(decode(z))."""

    image: Tensor
    decoded: Tensor
    aligned: Tensor


def lowpass(
    decode: Callable[[Tensor], Tensor], latents: Tensor, output: Tensor, images: Tensor, keep: int, block: int
) -> Lowpassed:
    """One `block_lowpass` applied everywhere; `output` is decode(latents), and is not decoded again for keep = all."""
    moved = block_lowpass(latents, keep, block)
    decoded = output if moved is latents else decode(moved).float()
    return Lowpassed(block_lowpass(images, keep, block), decoded, block_lowpass(output, keep, block))


def legal_block(grid: tuple[int, int], block: int) -> int:
    """`block` or the largest of its halves, quarters, … that divides the grid; 1 where there is none."""
    while block > 1 and (grid[0] % block or grid[1] % block):
        block //= 2
    return block


def scaled_strengths(keep: Sequence[int], block: int, legal: int) -> tuple[int, ...]:
    """`keep` diagonals of blocks of `block` as the nearest cut-off, no lower, of blocks of `legal`, each once."""
    return tuple(dict.fromkeys(min(math.ceil(k * legal / block), 2 * legal - 1) for k in keep))
