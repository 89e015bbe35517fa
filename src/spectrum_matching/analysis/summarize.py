"""From rows, one an image, to the records of an analysis: means, fits and their uncertainties."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..methods.encoding import Variant
from ..metrics import VARIANTS, Bands, LatentStatistics, Moments, best_delta, fit_exponent, gaps, shares, targets
from ..metrics.estimates import mean_number
from ..metrics.latents.structure import LatentNumbers
from ..records.analysis import Channel, Kind, LatentView, Spectrum, SpectrumMatch
from ..records.measurement import Measurement
from ..seeding import seeded
from ..spectrum.powerlaw import fit_power_law

CURVE_DELTAS = tuple(i / 10 for i in range(-5, 26))
SEARCH_DELTAS = tuple(i / 100 for i in range(-50, 251))


def column_means(rows: list[Tensor]) -> list[Measurement]:
    """Means over images of each column of batches (b, columns)."""
    return [mean_number(column) for column in torch.cat(rows).cpu().double().unbind(1)]


def spectrum(rows: Tensor, frequencies: Tensor, seed: int) -> Spectrum:
    """Mean of rows (n, bins) with the power law through it."""
    exponent = Measurement(*fit_exponent(rows, frequencies, seeded("bootstrap", seed)))
    return Spectrum(_numbers(frequencies), _numbers(rows.mean(0)), exponent)


def latent_view(
    name: str,
    kind: Kind,
    statistics: LatentStatistics,
    structure: LatentNumbers,
    seed: int,
    noise: Tensor | None = None,
) -> LatentView:
    """All that is kept of means or of samples. ValueError for latents that do not vary within any image.

    noise: the posterior variance of each image (n,), for means of a stochastic encoder.
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
        measurements={
            **_spectral(own, matches),
            "std": Measurement(moments.std),
            **({} if noise is None else {"posterior_noise": _noise_share(noise, moments)}),
            "rmsc": mean_number(statistics.rmsc()),
            "directional_energy": mean_number(statistics.rmsc().square()),
            **structure.numbers,
        },
    )


def _noise_share(noise: Tensor, moments: Moments) -> Measurement:
    return mean_number(noise / (noise.mean() + moments.channel_stds.square().mean()))


def _spectral(own: Spectrum, matches: Sequence[SpectrumMatch]) -> dict[str, Measurement]:
    numbers = {}
    for match in matches:
        if match.variant == "scale_free":
            low, high = match.best_delta_interval
            # A quarter of the interval of 95 % is a standard error where resamples are spread as a Gaussian.
            numbers["best_delta"] = Measurement(match.best_delta, (high - low) / 4)
        numbers[f"gap_{match.variant}_1"] = match.gap(1.0)
    return numbers | {"exponent": replace(own.exponent, white=0.0)}


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
        gaps=tuple(map(mean_number, gaps(bands, CURVE_DELTAS).unbind(1))),
        best_delta=best.delta,
        best_delta_interval=(best.low, best.high),
        best_gap=best.gap,
    )


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
