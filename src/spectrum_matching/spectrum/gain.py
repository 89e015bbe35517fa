"""Invertible gains on DCT coefficients, as functions of frequency: what flattens or whitens a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dct import dct2, idct2

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "*batch h w"]
    Gain = Float[Tensor, "*rows h w"]


def dct_frequencies(h: int, w: int) -> Float[Tensor, "h w"]:
    """Return the frequency √((u/2h)² + (v/2w)²) of each DCT coefficient in cycles per sample, float64: 0 … √½."""
    u, v = torch.arange(h, dtype=torch.float64) / (2 * h), torch.arange(w, dtype=torch.float64) / (2 * w)
    return torch.hypot(u[:, None], v)


def apply_gain(x: Field, gain: Gain) -> Field:
    """Multiply the DCT coefficients of `x` (…, h, w) by `gain`, (h, w) or one of these for each channel.

    Computed and returned in float32, or in float64 if `x` is; `1 / gain` inverts it.
    """
    coefficients = dct2(x)
    return idct2(coefficients * gain.to(coefficients))


def radial_gain(
    frequencies: Float[Tensor, " n"], values: Float[Tensor, "rows n"], h: int, w: int
) -> Float[Tensor, "rows h w"]:
    """Return the gain of each coefficient of an h × w grid from gains at radial frequencies, float64.

    frequencies (n,): ascending, in cycles per sample. values (rows, n): positive. Between two frequencies the gain is
    a power law; below the first, as at DC, and above the last it stays what it is there.
    """
    at = dct_frequencies(h, w).clamp(float(frequencies[0]), float(frequencies[-1])).log().flatten()
    return _interpolate(frequencies.double().log(), values.double().log(), at).exp().view(*values.shape[:-1], h, w)


def resample_gain(values: Float[Tensor, "rows h w"], h: int, w: int) -> Float[Tensor, "rows u v"]:
    """Return a gain given by coefficient at the same frequencies of another grid, float64.

    Bilinear in the logarithm; above the highest frequency of an axis it stays what it is there.
    """
    logs = values.double().log()
    for axis, n in ((-2, h), (-1, w)):
        n_known = logs.shape[axis]
        known, wanted = (torch.arange(k, dtype=torch.float64) / k for k in (n_known, n))
        logs = _interpolate(known, logs.movedim(axis, -1), wanted.clamp_max(float(known[-1]))).movedim(-1, axis)
    return logs.exp()


def _interpolate(known: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Interpolate values (…, n) at ascending positions (n,) linearly at others (m,) among them: (…, m)."""
    if len(known) == 1:
        return values.expand(*values.shape[:-1], len(wanted))
    right = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    share = (wanted - known[right - 1]) / (known[right] - known[right - 1])
    return torch.lerp(values[..., right - 1], values[..., right], share)
