"""Gaussian blur, resize and difference of Gaussians, each as one cached matrix on each axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from .separable import apply_separable, constant, in_working_precision

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "*batch h w"]

Resampler = Literal["bicubic", "bilinear", "area"]
RESAMPLERS = get_args(Resampler)  # older torch.compile cannot trace get_args


@constant
def gaussian_matrix(n: int, sigma: float, radius: int, padding: Literal["reflect", "zeros"]) -> Float[Tensor, "n n"]:
    """Return convolution with a Gaussian of 2·radius + 1 taps that sum to 1, as an (n, n) matrix.

    padding: "reflect" mirrors about the border's edge (… b a | a b …), again where the kernel outreaches the signal.
    """
    offset = torch.arange(-radius, radius + 1)
    taps = torch.exp(-0.5 * (offset.double() / sigma).square()) if sigma > 0 else (offset == 0).double()
    taps /= taps.sum()
    source = torch.arange(n)[:, None] + offset
    if padding == "zeros":
        inside = (source >= 0) & (source < n)
    else:
        source = source % (2 * n)
        source = torch.minimum(source, 2 * n - 1 - source)
        inside = torch.ones_like(source, dtype=torch.bool)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    return matrix.scatter_add_(1, source.clamp(0, n - 1), taps * inside)


@constant
def resize_matrix(n: int, size: int, mode: Resampler, antialias: bool) -> Float[Tensor, "size n"]:
    """Return the resampling of n samples to `size`, pixel centres at half-integers, as a (size, n) matrix."""
    if mode == "area":
        edges = torch.arange(size + 1, dtype=torch.float64) * n / size
        cells = torch.arange(n, dtype=torch.float64)
        overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
        return overlap.clamp_min(0) * size / n
    # Unit impulses as the columns of one picture: on pictures one pixel wide, torch's antialiasing is wrong (2.13).
    impulses = torch.eye(n, dtype=torch.float64)[None, None]
    return torch.nn.functional.interpolate(impulses, (size, n), mode=mode, align_corners=False, antialias=antialias)[
        0, 0
    ]


def gaussian_blur(x: Field, sigma: float) -> Field:
    """Blur by a Gaussian of standard deviation `sigma` samples over the last two axes: (…, h, w) → (…, h, w).

    The kernel is cut off at four sigma; borders are mirrored, repeatedly where it is wider than the field. The dtype is
    that of `x`. sigma 0 changes nothing.

    Raises:
        ValueError: unless sigma is finite and not negative.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be finite and not negative, got {sigma}")
    field = in_working_precision(x)
    if sigma == 0:
        return x
    h, w = x.shape[-2:]
    radius = int(4 * sigma + 0.5)
    rows = gaussian_matrix(h, sigma, radius, "reflect", like=field)
    return apply_separable(field, rows, gaussian_matrix(w, sigma, radius, "reflect", like=field)).to(x.dtype)


def resize(
    x: Field, size: tuple[int, int], mode: Resampler = "bicubic", antialias: bool = True
) -> Float[Tensor, "*batch u v"]:
    """Resample the last two axes to `size`: (…, h, w) → (…, *size), dtype of `x`.

    antialias: widen the kernel when shrinking ("area" averages exactly and does so anyway).

    Raises:
        ValueError: for an unknown mode or a size below 1 x 1.
    """
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 x 1, got {size[0]} x {size[1]}")
    if mode not in RESAMPLERS:
        raise ValueError(f"mode must be one of {', '.join(RESAMPLERS)}, got {mode!r}")
    field = in_working_precision(x)
    h, w = x.shape[-2:]
    if (h, w) == tuple(size):
        return x
    rows = resize_matrix(h, size[0], mode, antialias, like=field)
    return apply_separable(field, rows, resize_matrix(w, size[1], mode, antialias, like=field)).to(x.dtype)


def difference_of_gaussians(x: Field, inner: float, outer: float) -> Field:
    """Band-pass by blur(`inner`) − blur(`outer`), standard deviations in samples: (…, h, w) → (…, h, w).

    The dtype is that of `x`. inner 0 makes it a high-pass. Source: Spectrum Matching (arXiv 2603.14645), section 3.5.

    Raises:
        ValueError: unless 0 ≤ inner < outer.
    """
    if not 0 <= inner < outer:
        raise ValueError(f"expected 0 <= inner < outer, got inner {inner} and outer {outer}")
    field = in_working_precision(x)
    return (gaussian_blur(field, inner) - gaussian_blur(field, outer)).to(x.dtype)
