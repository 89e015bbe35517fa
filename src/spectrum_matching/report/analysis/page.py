"""Analyses side by side as one self-contained page."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ...records.analysis import Analysis
from ..table import distinct
from ..template import fill, fill_part
from . import context, decoder_figures, figures, metric_rows, tables


class MatrixRow(NamedTuple):
    """place: of the autoencoder, None for the images themselves. pngs: one a column, "" where there is none."""

    place: int | None
    pngs: tuple[str, ...]


class Matrix(NamedTuple):
    """Pictures of one image: the image, then a row for each autoencoder; columns: everything, latent, low-passed."""

    image: str
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


def render(analyses: Sequence[Analysis]) -> str:
    """The page. It loads nothing, and the same analyses give the same bytes. ValueError where there is none."""
    return fill("analysis/page.html", at="", **_said_of(analyses))


def render_within(analyses: Sequence[Analysis], at: str) -> str:
    """What `render` puts on its page, for another one: anchors begin with `at`."""
    part = fill_part("analysis/analyses.html", at=at, **_said_of(analyses))
    # Names within drawings are hashes of what they draw: a page with two of the same has two of one name.
    return re.sub(r'(\bid="|href="#|url\(#)([mp][0-9a-f]{10}\b)', rf"\1{at}\2", part)


def _said_of(analyses: Sequence[Analysis]) -> dict[str, Any]:
    if not analyses:
        raise ValueError("there is no analysis to report")
    rows, refusals = metric_rows.refusals(metric_rows.metric_rows(analyses))
    return dict(  # noqa: C408
        analyses=analyses,
        names=[analysis.subject.name for analysis in analyses],
        shapes=[tables.shape(analysis) for analysis in analyses],
        fidelities=[metric_rows.psnr(analysis) for analysis in analyses],
        measured_on=context.measured_on(analyses),
        warnings=context.comparability(analyses),
        notes=context.notes(analyses),
        conventions=context.conventions(analyses),
        provenance=context.provenance(analyses),
        bad_files=context.bad_files(analyses),
        image_exponents=context.image_exponents(analyses),
        metrics=rows,
        refusals=refusals,
        summary=tables.summary_table(analyses),
        latents=tables.latent_table(analyses),
        normalisation=tables.normalisation_table(analyses),
        gaps=tables.gap_table(analyses),
        lowpass=tables.lowpass_table(analyses),
        noise=tables.noise_table(analyses),
        equivariance=tables.equivariance_table(analyses),
        channel_lists=tables.channel_lists(analyses),
        spectra=figures.spectra(analyses),
        gap_curves=figures.gap_curves(analyses),
        structure=figures.structure(analyses),
        channels=figures.channel_spectra(analyses),
        views=figures.mean_and_sample(analyses),
        lowpass_curves=decoder_figures.lowpass_curves(analyses),
        responses=decoder_figures.responses(analyses),
        transfers=decoder_figures.transfers(analyses),
        matrices=picture_matrices(analyses),
        with_decodings=any(picture.decoded for analysis in analyses for picture in analysis.pictures),
        with_latents=any(analysis.latent_pictures for analysis in analyses),
        blocks=sorted({a.decoding.lowpass_block for a in analyses if a.decoding and a.decoding.lowpass}),
    )


def picture_matrices(analyses: Sequence[Analysis]) -> list[Matrix]:
    """Pictures by image; autoencoders whose images or low-pass differ stand in matrices of their own."""
    matrices = []
    for image in distinct(image for analysis in analyses for image in _images(analysis)):
        own = [(place, analysis) for place, analysis in enumerate(analyses) if image in _images(analysis)]
        for originals, group in groupby(own, key=lambda entry: _pictures(entry[1], image, decoded=False)):
            matrices.append(_matrix(image, originals, list(group)))
    return matrices


def _matrix(image: str, originals: dict[int, str], group: list[tuple[int, Analysis]]) -> Matrix:
    decoded = [(place, a, _pictures(a, image, decoded=True)) for place, a in group]
    keeps = sorted({*originals, *(keep for *_, pictures in decoded for keep in pictures)}, reverse=True)
    latents = {place: p.png for place, a in group for p in a.latent_pictures if p.image == image}
    columns = tuple(f"keep {keep}" if place else "all" for place, keep in enumerate(keeps))
    rows = [MatrixRow(None, tuple(originals.get(keep, "") for keep in keeps))] if originals else []
    rows += [MatrixRow(place, tuple(pictures.get(keep, "") for keep in keeps)) for place, _, pictures in decoded]
    if latents:
        columns = (*columns[:1], "latent", *columns[1:])
        rows = [MatrixRow(p, (*pngs[:1], latents.get(p, ""), *pngs[1:])) for p, pngs in rows]  # type: ignore[arg-type]
    return Matrix(image, columns, tuple(rows))


def _pictures(analysis: Analysis, image: str, decoded: bool) -> dict[int, str]:
    """By `keep`."""
    return {p.keep: p.png for p in analysis.pictures if p.image == image and p.decoded == decoded}


def _images(analysis: Analysis) -> list[str]:
    return [*(p.image for p in analysis.pictures), *(p.image for p in analysis.latent_pictures)]
