"""Assemble an analysis from encodings: spectra, views of the latents, normalisation, verdict."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.summary import number
from ..latent_space import LatentSpace
from ..metrics.estimates import estimate_mean
from ..metrics.latents.block_dct import latent_profile
from ..metrics.latents.channels import channel_kurtosis, outlier_channels
from ..metrics.latents.eigenspectrum import principal_axes
from ..metrics.latents.moments import ChannelMoments, check_normalisation, counted_channels, joint_moments
from ..metrics.latents.similarity import mean_cosines
from ..metrics.latents.spectra import VARIANTS, LatentSpectra, fit_spectrum, match_spectra, spectral_numbers
from ..metrics.latents.sweep import LatentMetric, LatentSweep
from ..metrics.rows import Rows
from ..records.analysis import (
    Analysis,
    Channel,
    Decoding,
    EquivariancePoint,
    Kind,
    LatentView,
    Normalisation,
    Provenance,
    Sample,
    Subject,
)
from ..records.generative import Generative
from ..seeding import seeded
from ..spectrum.powerlaw import fit_power_law
from .album import Album
from .encodings import Encodings
from .options import AnalysisOptions
from .own_metrics import OwnMetric, own_notes
from .verdict import with_findings

log = logging.getLogger(__name__)


def finish_analysis(
    encodings: Encodings,
    space: LatentSpace,
    options: AnalysisOptions,
    album: Album,
    *,
    subject: Subject,
    sample: Sample,
    provenance: Provenance,
    equivariance: tuple[EquivariancePoint, ...] = (),
    decoding: Decoding | None = None,
    generative: Generative | None = None,
    metrics: Sequence[OwnMetric] = (),
    notes: tuple[str, ...] = (),
) -> Analysis:
    """Measure the encoded latents and return the whole analysis with its verdict; the album gets the latents' pictures.

    Raises:
        ValueError: when latents do not vary within any image.
    """
    views, seed = [], provenance.seed
    own = [metric for metric in metrics if isinstance(metric, LatentMetric)]
    for kind, spectra in encodings.spectra.items():
        if spectra.is_flat:
            raise ValueError(f"{subject.name}: its latents do not vary within any image, so they have no spectrum")
        log.info("%s: metrics of %ss", subject.name, kind)
        sweep = encodings.sweep(kind, options.labels, own)
        if kind == "mean":
            _, axes, scales = principal_axes(sweep)
            album.add_latents(encodings.read("mean", album.rows), sweep.moments.channel_means, axes, scales)
        views.append(_latent_view(kind, spectra, sweep, options.all_readings, seed))
    image, bands = encodings.image_bands(), encodings.spectra["mean"].bands("scale_free")
    n_flat = encodings.spectra["mean"].n_flat
    if n_flat:
        flat = number(n_flat, "image or its latents", "images or their latents")
        notes += (f"{flat} are constant and are left out of the spectra.",)
    return with_findings(
        Analysis(
            subject=subject,
            sample=sample,
            provenance=provenance,
            latent_shape=(subject.channels, *sweep.grid),
            image=fit_spectrum(*image, seeded("bootstrap", seed)) if image else None,
            image_on_latent_grid=fit_spectrum(bands.images, bands.frequencies, seeded("bootstrap", seed))
            if image
            else None,
            image_block_dct=encodings.image_block_dct(),
            views=tuple(views),
            normalisation=_normalisation(encodings, space),
            equivariance=equivariance,
            decoding=decoding,
            generative=generative,
            pictures=album.pictures(),
            latent_pictures=album.latent_pictures,
            findings=(),
            notes=(*notes, *own_notes(metrics)),
        )
    )


def _normalisation(encodings: Encodings, space: LatentSpace) -> Normalisation:
    """Return what the declared normalisation makes of the latents that a diffusion model learns."""
    normalised, rows = ChannelMoments(), Rows()
    for latents in encodings.batches(encodings.kinds[-1]):
        values = space.to_unit(latents.double())
        normalised.add(values)
        rows.add(torch.stack([values.mean((2, 3)), values.square().mean((2, 3))], -1))
    _, _, channel_means, channel_stds = normalised.moments()
    live = counted_channels(channel_stds * torch.tensor(space.std).to(channel_stds))
    means, squares = rows.all()[:, live].mean(1).unbind(-1)
    mean, std = joint_moments(channel_means[live], channel_stds[live])
    # The variance is the mean square less the square of the mean: how each image moves it, to first order.
    influence = squares - 2 * mean * means
    error = estimate_mean(influence).standard_error
    error = error / (2 * std) if error is not None and std > 0 else None
    return check_normalisation(space, channel_means, channel_stds, error)


def _latent_view(kind: Kind, spectra: LatentSpectra, sweep: LatentSweep, all_readings: bool, seed: int) -> LatentView:
    bands, moments = spectra.bands("scale_free"), spectra.moments()
    spectrum = fit_spectrum(bands.latents, bands.frequencies, seeded("bootstrap", seed))
    variants = VARIANTS if spectra.has_images else ()
    matches = tuple(match_spectra(spectra.bands(v), v, seeded("bootstrap", seed)) for v in variants)
    eigenvalues, _, _ = principal_axes(sweep)
    return LatentView(
        kind=kind,
        mean=moments.mean,
        std=moments.std,
        channels=_channels(spectra, sweep),
        spectrum=spectrum,
        matches=matches,
        cosine_by_distance=_numbers(mean_cosines(sweep)),
        eigenvalues=_numbers(eigenvalues),
        block_dct=_numbers(latent_profile(sweep)),
        measurements=spectral_numbers(spectrum, matches) | sweep.numbers(all_readings),
    )


def _channels(spectra: LatentSpectra, sweep: LatentSweep) -> tuple[Channel, ...]:
    _, _, means, stds = sweep.moments
    frequencies, kurtosis = spectra.bands("scale_free").frequencies, channel_kurtosis(sweep)
    outliers = outlier_channels(stds, kurtosis.nan_to_num())
    channels = []
    for c, power in enumerate(spectra.channel_power()):
        is_dead = not sweep.live[c]
        # A channel that is constant within each image has power from rounding alone, which follows no law.
        is_flat = bool(power.mean() <= 1e-12 * (means[c] ** 2 + stds[c] ** 2))
        exponent = None if is_dead or is_flat else fit_power_law(power, frequencies, 1 / frequencies).exponent
        channels.append(
            Channel(
                mean=float(means[c]),
                std=float(stds[c]),
                kurtosis=None if is_dead else float(kurtosis[c]),
                exponent=None if exponent is None or exponent.isnan() else float(exponent),
                power=_numbers(power),
                state="dead" if is_dead else "outlier" if outliers[c] else "live",
            )
        )
    return tuple(channels)


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
