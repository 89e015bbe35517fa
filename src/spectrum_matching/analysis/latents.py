"""The side of an analysis that needs no decoder: from encodings to views, normalisation and false colours."""

import logging
from typing import NamedTuple

import torch

from ..latent_space import LatentSpace
from ..metrics.latents.moments import ChannelMoments
from ..metrics.latents.normalisation import check_normalisation
from ..metrics.latents.structure import LatentNumbers
from ..records.analysis import LatentView, Normalisation, Spectrum
from .album import Album
from .encodings import Encodings
from .options import Extras
from .summarize import latent_view, spectrum

log = logging.getLogger(__name__)


class LatentSide(NamedTuple):
    """Fields of `Analysis` of the same names."""

    image: Spectrum | None
    image_on_latent_grid: Spectrum | None
    image_block_dct: tuple[float, ...]
    views: tuple[LatentView, ...]
    normalisation: Normalisation


def measure_latents(
    name: str,
    encodings: Encodings,
    space: LatentSpace,
    extras: Extras,
    album: Album,
    seed: int,
) -> LatentSide:
    """All of it; the album gets the latents' pictures. ValueError as from `latent_view`."""
    views = []
    for kind in encodings.kinds:
        log.info("%s: metrics of %ss", name, kind)
        structure = encodings.second_sweep(kind, extras.labels)
        noise = torch.cat(encodings.noise) if kind == "mean" and encodings.noise else None
        views.append(latent_view(name, kind, encodings.statistics[kind], structure, seed, noise))
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
