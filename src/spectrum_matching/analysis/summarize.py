"""From rows, one an image, to the records of an analysis: means, fits and their uncertainties."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..methods.encoding import Variant
from ..metrics import VARIANTS, Bands, LatentStatistics, best_delta, fit_exponent, gaps, shares, targets
from ..metrics.latents.structure import LatentNumbers
from ..records.analysis import Channel, Estimate, Kind, LatentView, Measurement, Spectrum, SpectrumMatch
from ..seeding import seeded
from ..spectrum.powerlaw import fit_power_law

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


def latent_view(
    name: str,
    kind: Kind,
    statistics: LatentStatistics,
    structure: LatentNumbers,
    seed: int,
    noise: Tensor | None = None,
    more: tuple[Measurement, ...] = (),
) -> LatentView:
    """All that is kept of means or of samples. ValueError for latents that do not vary within any image.

    noise: the posterior variance of each image (n,), for means of a stochastic encoder. more: of the same latents.
    """
    moments = statistics.moments()
    if statistics.is_flat:
        raise ValueError(f"{name}: its latents do not vary within any image, so they have no spectrum")
    bands = statistics.bands("scale_free")
    own = spectrum(bands.latents, bands.frequencies, seed)
    matches = tuple(spectrum_match(v, statistics.bands(v), seed) for v in VARIANTS) if statistics.has_images else ()
    return LatentView(
        kind=kind,
        mean=moments.mean,
        std=moments.std,
        channels=_channels(statistics, structure),
        spectrum=own,
        matches=matches,
        cosine_by_distance=_numbers(structure.cosine_by_distance),
        eigenvalues=_numbers(structure.eigenvalues),
        block_dct=_numbers(structure.block_dct),
        block_dct_raw=_numbers(structure.block_dct_raw),
        measurements=(
            *_spectral(own, matches),
            Measurement("std", moments.std, None, None, ""),
            *(
                ()
                if noise is None
                else (measured("posterior_noise", noise / (noise.mean() + moments.channel_stds.square().mean())),)
            ),
            measured("rmsc", statistics.rmsc()),
            measured("directional_energy", statistics.rmsc().square()),
            *(Measurement(key, *number) for key, number in structure.numbers.items()),
            *more,
        ),
    )


def measured(key: str, values: Tensor) -> Measurement:
    """A mean over images (n,)."""
    mean = estimate(values.double())
    return Measurement(key, mean.value, mean.standard_error, None, "")


def _spectral(own: Spectrum, matches: Sequence[SpectrumMatch]) -> Iterator[Measurement]:
    for match in matches:
        if match.variant == "scale_free":
            low, high = match.best_delta_interval
            # A quarter of the interval of 95 % is a standard error where resamples are spread as a Gaussian.
            yield Measurement("best_delta", match.best_delta, (high - low) / 4, None, "")
        gap = match.gap(1.0)
        yield Measurement(f"gap_{match.variant}_1", gap.value, gap.standard_error, None, "")
    yield Measurement("exponent", own.exponent.value, own.exponent.standard_error, 0.0, "")


def _channels(statistics: LatentStatistics, structure: LatentNumbers) -> tuple[Channel, ...]:
    moments, frequencies = statistics.moments(), statistics.bands("scale_free").frequencies
    channels = []
    for place, power in enumerate(statistics.channel_power()):
        is_dead = bool(structure.dead[place])
        # Rounding leaves a channel that is constant within each image some power, which follows no law.
        is_flat = bool(power.mean() <= 1e-12 * (moments.channel_means[place] ** 2 + moments.channel_stds[place] ** 2))
        channels.append(
            Channel(
                mean=float(moments.channel_means[place]),
                std=float(moments.channel_stds[place]),
                kurtosis=None if is_dead else float(structure.kurtosis[place]),
                exponent=None
                if is_dead or is_flat
                else float(fit_power_law(power, frequencies, 1 / frequencies).exponent),
                power=_numbers(power),
                state="dead" if is_dead else "outlier" if structure.outliers[place] else "live",
            )
        )
    return tuple(channels)


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
