"""Analyses side by side as one self-contained page."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ...records.analysis import Analysis
from ..canvas import Panel
from ..table import Matrix, distinct
from ..template import fill, fill_part
from . import answer, context, decoder_figures, figures, metric_rows, tables
from .beside import beside_atlas
from .generation_figure import generation_figures
from .terms import explained, split_terms

LATENT = 0  # in place of the strength of a low-pass, among pictures by strength


def render(analyses: Sequence[Analysis], *, beside: bool = False) -> str:
    """Return the page. It loads nothing, and the same analyses give the same bytes. beside: with the atlas's rows.

    Raises:
        ValueError: when there is no analysis, or the atlas has no latent space to stand beside these.
    """
    return fill("analysis/page.html", at="", **page_context(analyses, beside))


def render_within(analyses: Sequence[Analysis], at: str) -> str:
    """Return what `render` puts on its page, for another page: anchors begin with `at`."""
    part = fill_part("analysis/analyses.html", at=at, **page_context(analyses))
    # Names within drawings are hashes of their content: a page with two equal drawings has two of one name.
    return re.sub(r'(\bid="|href="#|url\(#)([mp][0-9a-f]{10}\b)', rf"\1{at}\2", part)


def page_context(analyses: Sequence[Analysis], beside: bool = False) -> dict[str, Any]:
    """Return what the template fills in: values, and modules whose functions it calls with the analyses."""
    if not analyses:
        raise ValueError("there is no analysis to report")
    each = answer.answers(analyses)
    rows, refusals = metric_rows.split_refusals(metric_rows.metric_rows(analyses))
    return {
        "context": context,
        "beside": beside_atlas(analyses) if beside else None,
        "tables": tables,
        "answers": each,
        "shared": answer.shared_facts(each),
        "not_shown": answer.not_shown(analyses),
        "few": answer.FEW,
        "level_glyphs": answer.GLYPHS,
        "split_terms": split_terms,
        "explained": explained,
        "figures": figure_sections(analyses),
        "analyses": analyses,
        "names": [analysis.subject.name for analysis in analyses],
        "fidelities": [metric_rows.psnr(analysis) for analysis in analyses],
        "metrics": rows,
        "refusals": refusals,
        "directions": metric_rows.DIRECTIONS,
        "matrices": picture_matrices(analyses),
        "with_decodings": any(picture.decoded for analysis in analyses for picture in analysis.pictures),
        "with_latents": any(analysis.latent_pictures for analysis in analyses),
        "blocks": sorted({a.decoding.lowpass_block for a in analyses if a.decoding and a.decoding.lowpass}),
    }


def figure_sections(analyses: Sequence[Analysis]) -> dict[str, list[Panel]]:
    """Return the figures by the anchor of their section, none where there is nothing to show."""
    return {
        "answer": [figures.against_target(analyses)],
        "spectra": figures.spectra(analyses),
        "flattening": figures.gap_curves(analyses),
        "structure": figures.structure(analyses),
        "channels": figures.channel_spectra(analyses),
        "views": figures.mean_and_sample(analyses),
        "lowpass": decoder_figures.lowpass_curves(analyses),
        "transfer": decoder_figures.transfers(analyses),
        "responses": decoder_figures.responses(analyses),
        "generation": generation_figures(analyses),
    }


def picture_matrices(analyses: Sequence[Analysis]) -> list[Matrix]:
    """Return pictures by image: "all", "latent", then by strength of the low-pass.

    Autoencoders whose images or low-pass differ get matrices of their own.
    """
    matrices = []
    for image in distinct(image for analysis in analyses for image in _images(analysis)):
        shown = [(index, *_pictures(analysis, image)) for index, analysis in enumerate(analyses)]
        entries = [entry for entry in shown if any(entry[1:])]
        for originals, group in groupby(entries, key=lambda entry: entry[1]):
            rows: list[tuple[int | None, dict[int, str]]] = [(None, originals)] if originals else []
            rows += [(index, pictures) for index, _, pictures in group]
            strengths = {strength for _, pictures in rows for strength in pictures}
            kept = sorted(strengths - {LATENT}, reverse=True)
            order = [*kept[:1], *(strengths & {LATENT}), *kept[1:]]
            titles = {LATENT: "latent"} | dict.fromkeys(kept[:1], "all")
            columns = tuple(titles.get(strength, f"keep {strength}") for strength in order)
            pngs = [(index, tuple(pictures.get(strength, "") for strength in order)) for index, pictures in rows]
            matrices.append(Matrix(image, columns, tuple(pngs)))
    return matrices


def _pictures(analysis: Analysis, image: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return the pictures of an image by strength of the low-pass, and the decoded ones with that of the latents."""
    originals = {p.keep: p.png for p in analysis.pictures if p.image == image and not p.decoded}
    shown = {p.keep: p.png for p in analysis.pictures if p.image == image and p.decoded}
    for picture in analysis.latent_pictures:
        if picture.image == image:
            shown[LATENT] = picture.png
    return originals, shown


def _images(analysis: Analysis) -> list[str]:
    return [*(p.image for p in analysis.pictures), *(p.image for p in analysis.latent_pictures)]
