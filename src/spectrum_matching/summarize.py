"""From rows, one an image, to the records of an analysis: means, fits and their uncertainties."""

import torch
from torch import Tensor

from .data.seeding import seeded
from .methods.encoding import Variant
from .metrics import VARIANTS, Bands, LatentStatistics, best_delta, fit_exponent, gaps, shares, targets
from .results import Estimate, Kind, LatentView, Spectrum, SpectrumMatch

CURVE_DELTAS = tuple(i / 10 for i in range(-5, 26))
SEARCH_DELTAS = tuple(i / 100 for i in range(-50, 251))


def estimate(values: Tensor) -> Estimate:
    """(n,) → mean and standard error."""
    return Estimate(float(values.mean()), float(values.std() / len(values) ** 0.5))


def estimates(rows: list[Tensor]) -> list[Estimate]:
    """Batches of (b, columns) → one estimate a column."""
    return [estimate(column) for column in torch.cat(rows).cpu().double().unbind(1)]


def spectrum(rows: Tensor, frequencies: Tensor, seed: int) -> Spectrum:
    """Mean of rows (n, bins) with the power law through it."""
    exponent = Estimate(*fit_exponent(rows, frequencies, seeded("bootstrap", seed)))
    return Spectrum(_numbers(frequencies), _numbers(rows.mean(0)), exponent)


def latent_view(name: str, kind: Kind, statistics: LatentStatistics, seed: int) -> LatentView:
    """All that is kept of means or of samples. ValueError for latents that do not vary within any image."""
    moments = statistics.moments()
    bands = statistics.bands("scale_free")
    # Rounding leaves a constant field some power, some 1e-14 of its square.
    if bands.latents.mean() <= 1e-12 * (moments.mean**2 + moments.std**2):
        raise ValueError(f"{name}: its latents do not vary within any image, so they have no spectrum")
    return LatentView(
        kind=kind,
        mean=moments.mean,
        std=moments.std,
        channel_means=_numbers(moments.channel_means),
        channel_stds=_numbers(moments.channel_stds),
        spectrum=spectrum(bands.latents, bands.frequencies, seed),
        channel_power=tuple(map(_numbers, statistics.channel_power())),
        matches=tuple(spectrum_match(variant, statistics.bands(variant), seed) for variant in VARIANTS),
        rmsc=estimate(statistics.rmsc()),
    )


def spectrum_match(variant: Variant, bands: Bands, seed: int) -> SpectrumMatch:
    """The latents beside the images, as one variant of ESM compares them."""
    best = best_delta(bands, SEARCH_DELTAS, seeded("bootstrap", seed))
    return SpectrumMatch(
        variant=variant,
        frequencies=_numbers(bands.frequencies),
        latent=_numbers(shares(bands).mean(0)),
        deltas=CURVE_DELTAS,
        targets=tuple(_numbers(targets(bands, delta).mean(0)) for delta in CURVE_DELTAS),
        gaps=tuple(map(estimate, gaps(bands, CURVE_DELTAS).unbind(1))),
        best_delta=best.delta,
        best_delta_interval=(best.low, best.high),
        best_gap=best.gap,
    )


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
