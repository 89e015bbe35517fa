"""The side of an analysis that needs no decoder: from encodings to views, normalisation, probe and false colours."""

import logging
from typing import NamedTuple

import torch

from ..latent_space import LatentSpace
from ..metrics.latents.moments import ChannelMoments
from ..metrics.latents.normalisation import check_normalisation
from ..metrics.latents.structure import LatentNumbers
from ..records.analysis import LatentView, Measurement, Normalisation, Probe, ProbePoint, Spectrum
from .album import Album
from .encodings import Encodings
from .options import Extras
from .probe import SMALLEST, train_probe
from .summarize import estimate, latent_view, measured, spectrum

log = logging.getLogger(__name__)


class LatentSide(NamedTuple):
    """Fields of `Analysis` of the same names."""

    image: Spectrum | None
    image_on_latent_grid: Spectrum | None
    image_block_dct: tuple[float, ...]
    views: tuple[LatentView, ...]
    normalisation: Normalisation
    probe: Probe | None


def measure_latents(
    name: str,
    encodings: Encodings,
    space: LatentSpace,
    extras: Extras,
    album: Album,
    seed: int,
    device: torch.device,
) -> LatentSide:
    """All of it; the album gets the latents' pictures. ValueError as from `latent_view`."""
    if extras.probe:
        log.info("%s: training the probe", name)
    probe, loss = _probe(encodings, seed, device) if extras.probe else (None, None)
    views = []
    for kind in encodings.kinds:
        log.info("%s: metrics of %ss", name, kind)
        structure = encodings.second_sweep(kind, extras.labels, extras.uniformity and kind == "mean")
        noise = torch.cat(encodings.noise) if kind == "mean" and encodings.noise else None
        more = (loss,) if loss and kind == "mean" else ()
        views.append(latent_view(name, kind, encodings.statistics[kind], structure, seed, noise, more))
        if kind == "mean":
            _draw(album, encodings, structure)
    image, on_grid = None, None
    if encodings.image_rows:
        bands = encodings.statistics["mean"].bands("scale_free")
        image = spectrum(torch.cat(encodings.image_rows), encodings.image_frequencies, seed)
        on_grid = spectrum(bands.images, bands.frequencies, seed)
    return LatentSide(
        image=image,
        image_on_latent_grid=on_grid,
        image_block_dct=encodings.image_block_dct(),
        views=tuple(views),
        normalisation=_normalisation(encodings, space),
        probe=probe,
    )


def _draw(album: Album, encodings: Encodings, structure: LatentNumbers) -> None:
    first = torch.cat(list(encodings.batches("mean", n=album.n_images)))
    mean = encodings.statistics["mean"].moments().channel_means
    album.add_latents(first, mean, structure.principal_axes, structure.principal_scales)


def _normalisation(encodings: Encodings, space: LatentSpace) -> Normalisation:
    normalised = ChannelMoments()
    for latents in encodings.batches("mean"):
        normalised.add(space.normalise(latents.double()))
    _, _, means, stds = normalised.moments()
    found = check_normalisation(space, means, stds)
    return Normalisation(
        convention=space.convention,
        std=found.std,
        channel_stds=(found.lowest_std, found.highest_std),
        channel_means=(found.lowest_mean, found.highest_mean),
        suggested_scaling_factor=found.scaling_factor or 1.0,
    )


def _probe(encodings: Encodings, seed: int, device: torch.device) -> tuple[Probe | None, Measurement]:
    if encodings.n_images < SMALLEST:
        refusal = f"{encodings.n_images} images: the probe needs at least {SMALLEST}, a quarter of them to test it on"
        return None, Measurement("probe_loss", None, None, None, refusal)
    found = train_probe(encodings.batches("mean"), seed=seed, device=device)
    points = [
        ProbePoint(level, estimate(losses.double()), wiener_loss, tuple(errors), tuple(wiener_errors))
        for level, losses, wiener_loss, errors, wiener_errors in zip(
            found.levels,
            found.losses,
            found.wiener_losses.tolist(),
            found.errors.tolist(),
            found.wiener_errors.tolist(),
            strict=True,
        )
    ]
    probe = Probe(
        steps=found.steps,
        batch_size=found.batch_size,
        parameters=found.n_parameters,
        n_train=found.n_train,
        n_test=found.n_test,
        frequencies=tuple(found.edges.tolist()),
        points=tuple(points),
    )
    return probe, measured("probe_loss", found.losses.mean(0))
