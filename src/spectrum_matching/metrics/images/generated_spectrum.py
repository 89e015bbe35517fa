"""How far the power spectrum of generated images is from that of real ones, band by band."""

import math
from typing import NamedTuple

from torch import Tensor

from ...spectrum.power import power_spectrum, radial_bins, radial_profile

MOST_BANDS = 64


class SpectrumError(NamedTuple):
    """decibels (bands,): 10 log10(power / reference). mean: of their absolute values; with its standard error."""

    decibels: Tensor
    mean: float
    standard_error: float | None


def n_bands(size: int) -> int:
    """Bands of images of `size` pixels a side: half as many as pixels, at most 64."""
    return max(1, min(size // 2, MOST_BANDS))


def image_powers(images: Tensor) -> Tensor:
    """Mean power by radial band, DC left out, mean over channels: images (b, c, H, W) in [-1, 1] → (b, bands)."""
    return radial_profile(power_spectrum(images.float()).mean(1), n_bands(min(images.shape[-2:])), "frequency", True)


def band_frequencies(size: int) -> Tensor:
    """(bands,): where each lies, in cycles per pixel."""
    return radial_bins(size, size, n_bands(size), "frequency").frequencies


def spectrum_error(
    power: Tensor, reference: Tensor, n_images: int = 0, rows: Tensor | None = None, paired: Tensor | None = None
) -> SpectrumError:
    """Of mean powers (bands,) against those of a reference.

    rows (n, bands): powers of single images, for the standard error of a mean over `n_images`, by the delta method.
    paired (n, bands): those of the reference's images, one by one; without them it is held fixed. Bands without power
    count as 1e-12 of the reference's largest.
    """
    floor = max(float(reference.max()) * 1e-12, 1e-300)
    power, reference = power.double().clamp_min(floor), reference.double().clamp_min(floor)
    decibels = 10 * (power / reference).log10()
    error = None
    if rows is not None and len(rows) > 1:
        slope = decibels.sign() * 10 / (math.log(10) * len(power))
        influence = rows.double() @ (slope / power)
        if paired is not None:
            influence = influence - paired.double() @ (slope / reference)
        error = float(influence.std()) / math.sqrt(n_images)
    return SpectrumError(decibels, float(decibels.abs().mean()), error)
