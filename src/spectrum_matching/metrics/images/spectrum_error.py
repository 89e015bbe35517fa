"""Error of the power spectrum of a set of images, by radial band and as a mean over bands."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ...records.measurement import Measurement
from ...records.scores import BandPower
from ...spectrum.power import power_spectrum, radial_bins, radial_profile
from .score import SetComparison, SetScore, score_metric
from .statistics import Collected, FeatureBatch

MOST_BANDS = 64

SPECTRUM_ERROR_METRIC = score_metric(
    key="spectrum_error",
    title="error of the power spectrum",
    unit="dB",
    source="this package",
    conventions="mean over radial bands of |10 log10(mean power / reference)|, half as many bands as pixels a side, no "
    "DC; needs no weights. Interval: delta method over generated images, reference fixed",
)


class SpectrumError(NamedTuple):
    """decibels (bands,): 10 log10(power / reference). mean, standard_error: of their absolute values."""

    decibels: Tensor
    mean: float
    standard_error: float | None


def n_bands(size: int) -> int:
    """Return the number of bands of images of `size` pixels a side: half as many, at most 64."""
    return max(1, min(size // 2, MOST_BANDS))


def image_powers(images: Tensor) -> Tensor:
    """Return mean power by radial band without DC, mean over channels: images (b, c, H, W) in [-1, 1] → (b, bands)."""
    return radial_profile(power_spectrum(images.float()).mean(1), n_bands(min(images.shape[-2:])), "frequency", True)


def band_frequencies(size: int) -> Tensor:
    """Return the frequency (bands,) of each band, in cycles per pixel."""
    return radial_bins(size, size, n_bands(size), "frequency").frequencies


def spectrum_error(
    power: Tensor, reference: Tensor, n_images: int = 0, rows: Tensor | None = None, paired: Tensor | None = None
) -> SpectrumError:
    """Compare mean powers (bands,) with those of a reference.

    rows (n, bands): powers of single images, for the standard error of a mean over `n_images`, by the delta method.
    paired (n, bands): powers of the reference's images, one by one; None holds the reference fixed. Bands without power
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


def band_powers(comparison: SetComparison) -> tuple[BandPower, ...]:
    """Return the comparison band by band; empty if the reference's images have another size."""
    if comparison.size_refusal:
        return ()
    power, reference = _mean_powers(comparison)
    columns = band_frequencies(comparison.images.size), power, reference, spectrum_error(power, reference).decibels
    return tuple(BandPower(*row) for row in zip(*(column.tolist() for column in columns), strict=True))


def _mean_powers(comparison: SetComparison) -> tuple[Tensor, Tensor]:
    images, reference = comparison.images, comparison.reference
    return images.sums["power"] / images.n_images, reference.sums["power"] / reference.n_images


def _collect(batch: FeatureBatch) -> Collected:
    power = image_powers(batch.images).cpu()
    return Collected(sums={"power": power.double().sum(0)}, rows={"power": batch.kept(power)})


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    if refusal := comparison.size_refusal:
        return {"spectrum_error": Measurement(None, refused=refusal)}
    images, reference = comparison.images, comparison.reference
    paired = reference.rows("power") if comparison.is_paired else None
    error = spectrum_error(*_mean_powers(comparison), images.n_images, images.rows("power"), paired)
    return {"spectrum_error": Measurement(error.mean, error.standard_error)}


SPECTRUM_ERROR = SetScore((SPECTRUM_ERROR_METRIC,), _compare, _collect, ("generation", "reconstruction"))
