"""Power spectra and their radial bands."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from .dct import dct2
from .separable import constant, in_working_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Field = Float[Tensor, "*batch h w"]

Radius = Literal["index", "frequency"]


class RadialBins(NamedTuple):
    """Equal-width rings over an h × w grid of DCT coefficients, from DC out to the corner.

    rings (h, w): the ring of each coefficient. counts (bins,): coefficients in each ring. centres (bins,): middle of
    each ring, as a share of the corner radius. frequencies (bins,): where a 1/f² spectrum takes its mean over the ring,
    in cycles per sample (DC not counted; the ring's middle where it has none).
    """

    rings: Int[Tensor, "h w"]
    counts: Int[Tensor, " bins"]
    centres: Float[Tensor, " bins"]
    frequencies: Float[Tensor, " bins"]


def power_spectrum(x: Field, size: tuple[int, int] | None = None) -> Float[Tensor, "*batch u v"]:
    """Return the squared orthonormal DCT-II: (…, h, w) → (…, h, w), or (…, *size) of the lowest frequencies.

    size: as in `dct2`. Without it, the spectrum sums to the energy of `x`.
    """
    return dct2(x, size).square()


def squared_radii(h: int, w: int, radius: Radius = "index") -> Int[Tensor, "h w"]:
    """Return the squared radius of every DCT coefficient of an h × w grid as an integer, int64 on the CPU.

    Exact, so that coefficients of one radius, or on the edge of a ring, are told apart without rounding. radius: as in
    `radial_bins`; frequencies are in a common unit.
    """
    common = math.gcd(h, w)
    a, b = (w // common, h // common) if radius == "frequency" else (1, 1)
    u, v = torch.arange(h, device="cpu")[:, None], torch.arange(w, device="cpu")
    return (a * u).square() + (b * v).square()


def radial_bins(h: int, w: int, bins: int = 16, radius: Radius = "index") -> RadialBins:
    """Assign every DCT coefficient (u, v) of an h × w grid to one of `bins` rings (float64, int64; CPU).

    radius: "index" is √(u² + v²), as in the paper's code; "frequency" is √((u/2h)² + (v/2w)²), which differs from it
    on grids that are not square.

    Raises:
        ValueError: for sizes or bin counts below 1.
    """
    if min(h, w, bins) < 1:
        raise ValueError(f"expected a grid of at least 1 x 1 and at least 1 bin, got {h} x {w} and {bins}")
    if radius not in ("index", "frequency"):
        raise ValueError(f"radius must be 'index' or 'frequency', got {radius!r}")
    return RadialBins(*(part.clone() for part in _radial_bins(h, w, bins, radius)))


@lru_cache(maxsize=64)
def _radial_bins(h: int, w: int, bins: int, radius: Radius) -> RadialBins:
    with torch.inference_mode(False), torch.device("cpu"):
        squared = squared_radii(h, w, radius)
        corner = int(squared[-1, -1])
        rings = (bins**2 * squared // max(corner, 1)).double().sqrt().long().clamp_max(bins - 1)
        counts = rings.flatten().bincount(minlength=bins)

        u, v = torch.arange(h)[:, None].double() / (2 * h), torch.arange(w).double() / (2 * w)
        frequency = torch.hypot(u, v).flatten()
        centres = (torch.arange(bins, dtype=torch.float64) + 0.5) / bins
        # DC has no frequency to average. The plain mean would make steep spectra look steeper, as the lowest
        # frequencies of a wide ring hold most of its power.
        inverse_square = torch.where(frequency > 0, frequency**-2, 0)
        total = torch.zeros(bins, dtype=torch.float64).index_add_(0, rings.flatten(), inverse_square)
        n = torch.zeros(bins, dtype=torch.float64).index_add_(0, rings.flatten(), (frequency > 0).double())
        frequencies = torch.where(n > 0, (n / total).sqrt(), centres * frequency[-1])
    return RadialBins(rings, counts, centres, frequencies)


@constant
def _averaging_matrix(h: int, w: int, bins: int, radius: Radius, drop_dc: bool) -> Float[Tensor, "n bins"]:
    """(h·w, bins): column k averages over ring k."""
    member = torch.nn.functional.one_hot(radial_bins(h, w, bins, radius).rings.flatten(), bins).double()
    if drop_dc:
        member[0] = 0
    return member / member.sum(0).clamp_min(1)


def radial_profile(
    power: Field, bins: int = 16, radius: Radius = "index", drop_dc: bool = False
) -> Float[Tensor, "*batch bins"]:
    """Average power over equal-width rings up to the corner radius: (…, h, w) → (…, bins). Empty rings give 0.

    radius: as in `radial_bins`. drop_dc: leave coefficient (0, 0) out of both sum and count.
    """
    power = in_working_precision(power)
    h, w = power.shape[-2:]
    average = _averaging_matrix(h, w, bins, radius, drop_dc, like=power)
    with torch.autocast(power.device.type, enabled=False):
        return power.flatten(-2) @ average
