"""Blocks of fields and of sequences, and the low-pass on each block's DCT that DSM applies to latents and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dct import dct_matrix
from .separable import FLOAT64, constant, in_working_precision

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "*batch h w"]


def split_blocks(x: Field, block: int = 8) -> Float[Tensor, "*batch n m b b"]:
    """Cut into non-overlapping blocks: (…, h, w) → (…, h/block, w/block, block, block).

    Raises:
        ValueError: unless h and w are multiples of `block`.
    """
    h, w = x.shape[-2:]
    if block < 1 or h % block or w % block:
        raise ValueError(f"a {h} x {w} field does not divide into blocks of {block} x {block}")
    return x.reshape(*x.shape[:-2], h // block, block, w // block, block).transpose(-3, -2)


def merge_blocks(blocks: Float[Tensor, "*batch n m b b"]) -> Field:
    """Invert `split_blocks`: (…, n, m, block, block) → (…, n·block, m·block)."""
    return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)


@constant
def lowpass_projection(keep: int, block: int) -> Tensor:
    """Return DCT, zeroing of coefficients with u + v ≥ keep and inverse DCT as one projection, (block², block²)."""
    basis = dct_matrix(block, like=FLOAT64)
    index = torch.arange(block)
    kept = (index[:, None] + index < keep).flatten()
    rows = torch.kron(basis, basis)[kept]
    return rows.mT @ rows


def block_lowpass(x: Field, keep: int, block: int = 8) -> Field:
    """Zero every coefficient with u + v ≥ keep in the orthonormal DCT of each block: (…, h, w) → (…, h, w).

    keep: 1 (block means) to 2·block − 1 (everything: `x` itself is returned). The result has the dtype of `x`. Source:
    DSM, Spectrum Matching (arXiv 2603.14645); the strength n of its code is keep = 15 − n at block 8, and n = 0 is 15.

    Raises:
        ValueError: unless h and w are multiples of `block` and keep is in range.
    """
    everything = 2 * block - 1
    if not 1 <= keep <= everything:
        raise ValueError(f"keep must lie in 1 ... {everything} for blocks of {block} x {block}, got {keep}")
    field = in_working_precision(x)
    blocks = split_blocks(field, block)
    if keep == everything:
        return x
    with torch.autocast(x.device.type, enabled=False):
        low = blocks.flatten(-2) @ lowpass_projection(keep, block, like=field)
    return merge_blocks(low.reshape(*low.shape[:-1], block, block)).to(x.dtype)


@constant
def sequence_projection(keep: int, block: int) -> Tensor:
    """Return DCT, zeroing of coefficients u ≥ keep and inverse DCT as one projection, (block, block)."""
    rows = dct_matrix(block, like=FLOAT64)[:keep]
    return rows.mT @ rows


def sequence_lowpass(x: Float[Tensor, "*shape"], keep: int, block: int = 8, axis: int = -1) -> Float[Tensor, "*shape"]:
    """Zero every coefficient u ≥ keep in the orthonormal DCT of each block along one axis; the shape stays.

    keep: 1 (block means) to `block` (everything: `x` itself is returned). The result has the dtype of `x`.

    Raises:
        ValueError: unless that axis is a multiple of `block` and keep is in range.
    """
    if not 1 <= keep <= block:
        raise ValueError(f"keep must lie in 1 ... {block} for blocks of {block}, got {keep}")
    field = in_working_precision(x, 1).movedim(axis, -1)
    if field.shape[-1] % block:
        raise ValueError(f"a sequence of {field.shape[-1]} does not divide into blocks of {block}")
    if keep == block:
        return x
    blocks = field.reshape(*field.shape[:-1], -1, block)
    with torch.autocast(x.device.type, enabled=False):
        low = blocks @ sequence_projection(keep, block, like=field)
    return low.flatten(-2).movedim(-1, axis).to(x.dtype)
