"""Analyses side by side as one self-contained page."""

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple

from . import figures, tables
from .results import Analysis, Picture


class Matrix(NamedTuple):
    """Pictures of one image: a row for the image itself, then one for each autoencoder; a column for each strength."""

    image: str
    strengths: tuple[str, ...]
    original: tuple[Picture, ...]
    decoded: tuple[tuple[int, tuple[Picture, ...]], ...]


def render(analyses: Sequence[Analysis]) -> str:
    """The page. It loads nothing, and the same analyses give the same bytes."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    if not analyses:
        raise ValueError("there is no analysis to report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = Markup
    template = environment.from_string((files(__package__) / "report.html").read_text())
    return template.render(
        analyses=analyses,
        names=[analysis.subject.name for analysis in analyses],
        findings=tables.findings(analyses),
        summary=tables.summary_table(analyses),
        latents=tables.latent_table(analyses),
        gaps=tables.gap_table(analyses),
        lowpass=tables.lowpass_table(analyses),
        spectra=figures.spectra(analyses),
        gap_curves=figures.gap_curves(analyses),
        lowpass_curves=figures.lowpass_curves(analyses),
        channels=figures.channel_spectra(analyses),
        views=figures.mean_and_sample(analyses),
        matrices=picture_matrices(analyses),
        notes=tables.notes(analyses),
        provenance=tables.provenance(analyses),
        image_exponents=tables.image_exponents(analyses),
        blocks=sorted({analysis.lowpass_block for analysis in analyses}),
        series=figures.SERIES,
    )


def picture_matrices(analyses: Sequence[Analysis]) -> list[Matrix]:
    """Pictures by image; autoencoders whose low-pass differs stand in matrices of their own."""
    matrices = []
    images = tables.distinct(picture.image for analysis in analyses for picture in analysis.pictures)
    for image in images:
        shown = [
            (tuple(p for p in analysis.pictures if p.image == image), place) for place, analysis in enumerate(analyses)
        ]
        originals = [(tuple(p for p in pictures if not p.decoded), pictures, place) for pictures, place in shown]
        for original, group in groupby(originals, key=lambda entry: entry[0]):
            decoded = tuple((place, tuple(p for p in pictures if p.decoded)) for _, pictures, place in group)
            strengths = tuple("all" if column == 0 else f"keep {p.keep}" for column, p in enumerate(original))
            matrices.append(Matrix(image, strengths, original, decoded))
    return matrices
