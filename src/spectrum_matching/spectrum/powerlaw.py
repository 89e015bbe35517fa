"""Power laws 1/f^α: fit on a log-log scale, with the standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


class PowerLaw(NamedTuple):
    """A fit bands ≈ amplitude / frequency^exponent; each field has shape (…)."""

    exponent: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]
    amplitude: Float[Tensor, "*batch"]


def fit_power_law(
    bands: Float[Tensor, "*batch n"], frequencies: Float[Tensor, " n"], weights: Float[Tensor, " n"] | None = None
) -> PowerLaw:
    """Fit a least-squares line to log(bands) over log(frequencies): (…, n), (n,) → fields of shape (…).

    weights (n,): weight of each squared residual, for instance the number of coefficients in a band; equal by default.
    Bands that are not positive, or of weight 0, are left out. The standard error is that of the residuals about the
    line; it is NaN where fewer than three bands are left, and so is the exponent where fewer than two are.

    Raises:
        ValueError: for fewer than three bands, or frequencies of another number.
    """
    n = bands.shape[-1]
    if n < 3 or frequencies.shape != (n,):
        got = f"bands {tuple(bands.shape)} and frequencies {tuple(frequencies.shape)}"
        raise ValueError(f"expected at least 3 bands and a frequency for each, got {got}")
    bands, frequencies = bands.double(), frequencies.to(bands.device).double()
    weights = torch.ones_like(frequencies) if weights is None else weights.to(bands)
    usable = (bands > 0) & (frequencies > 0) & (weights > 0)
    weight = usable * weights
    x = torch.where(frequencies > 0, frequencies, 1).log()
    y = torch.where(usable, bands, 1).log()

    total = weight.sum(-1, keepdim=True)
    x_centred = x - (weight * x).sum(-1, keepdim=True) / total
    y_centred = y - (weight * y).sum(-1, keepdim=True) / total
    spread = (weight * x_centred.square()).sum(-1)
    slope = (weight * x_centred * y_centred).sum(-1) / spread
    slope = slope.where(usable.sum(-1) > 1, torch.nan)  # of one band rounding leaves a spread
    residual = y_centred - slope[..., None] * x_centred
    degrees = (usable.sum(-1) - 2).clamp_min(0)
    # Scaling all weights alike must not change the error: the variance is per mean weight.
    variance = (weight * residual.square()).sum(-1) / degrees
    intercept = ((weight * y).sum(-1) - slope * (weight * x).sum(-1)) / total[..., 0]
    standard_error = torch.where(degrees > 0, (variance / spread).sqrt(), torch.nan)
    return PowerLaw(-slope, standard_error, intercept.exp())
