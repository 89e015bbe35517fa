"""The orthonormal two-dimensional DCT-II and its inverse (DCT-III) by cached matrices, for any height and width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .separable import FLOAT64, apply_separable, constant, in_working_precision

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "*batch h w"]


@constant
def dct_matrix(n: int) -> Float[Tensor, "n n"]:
    """Return the orthonormal DCT-II matrix, (n, n): row k has frequency k / (2 n) cycles per sample."""
    position = torch.arange(n, dtype=torch.float64) + 0.5
    index = torch.arange(n, dtype=torch.float64)[:, None]
    matrix = torch.cos(math.pi / n * index * position) * math.sqrt(2 / n)
    matrix[0] = math.sqrt(1 / n)
    return matrix


@constant
def truncated_dct_matrix(n: int, kept: int) -> Float[Tensor, "kept n"]:
    """Return the DCT's lowest `kept` rows, (kept, n), scaled to be the band-limited signal's on `kept` samples."""
    return dct_matrix(n, like=FLOAT64)[:kept] * math.sqrt(kept / n)


def dct2(x: Field, size: tuple[int, int] | None = None) -> Float[Tensor, "*batch u v"]:
    """Return the orthonormal DCT-II over the last two axes: (…, h, w) → (…, h, w), float32 or float64.

    size: keep the lowest (h', w') coefficients only, scaled to be those of `x` resampled to an h' × w' grid by an ideal
    low-pass filter: (…, h, w) → (…, h', w').

    Raises:
        ValueError: unless 1 ≤ h' ≤ h and 1 ≤ w' ≤ w.
    """
    x = in_working_precision(x)
    h, w = x.shape[-2:]
    if size is None:
        return apply_separable(x, dct_matrix(h, like=x), dct_matrix(w, like=x))
    if not (1 <= size[0] <= h and 1 <= size[1] <= w):
        raise ValueError(f"a {h} x {w} field has no {size[0]} x {size[1]} DCT coefficients to keep")
    return apply_separable(x, truncated_dct_matrix(h, size[0], like=x), truncated_dct_matrix(w, size[1], like=x))


def idct2(coefficients: Field) -> Field:
    """Invert `dct2` by the orthonormal DCT-III: (…, h, w) → (…, h, w), float32 or float64."""
    coefficients = in_working_precision(coefficients)
    h, w = coefficients.shape[-2:]
    return apply_separable(coefficients, dct_matrix(h, like=coefficients).mT, dct_matrix(w, like=coefficients).mT)
