"""Render a comparison as one self-contained page."""

from collections.abc import Sequence

from ...records.analysis import Analysis
from ...records.comparison import Comparison
from ..analysis.page import render_within
from ..table import provenance_rows
from ..template import fill
from . import context, figures, tables
from .quantities import headline, main_quantities

PREDICTORS = ("gaussian_fid_reconstructions", "psnr", "best_delta", "gap_scale_free_1", "lowpass_gap", "rfid")
"""Numbers of the autoencoder that the score of generated images is plotted over."""


def render_comparison(comparison: Comparison, analyses: Sequence[Analysis] = ()) -> str:
    """Render the page, which loads nothing; the same comparison gives the same bytes.

    analyses: of its autoencoders in the order of its methods; their report ends the page.

    Raises:
        ValueError: if the comparison has no trial.
    """
    if not comparison.trials:
        raise ValueError(f"the comparison {comparison.name!r} holds no trial: there is nothing to report")
    main, others = main_quantities(comparison), main_quantities(comparison, others=True)
    pairs = tables.pairs(comparison)
    predictors = [each for key in PREDICTORS for each in main if each.metric.key == key]
    return fill(
        "comparison/comparison.html",
        ("page.css", "comparison/comparison.css"),
        comparison=comparison,
        names=comparison.methods,
        compared=context.compared(comparison),
        reading=context.reading(comparison),
        warnings=context.warnings(comparison),
        refusals=context.refusals(comparison),
        table=tables.score_table(comparison, main),
        others=tables.score_table(comparison, others, full_titles=True),
        asides=tables.asides(comparison),
        legend=tables.legend(comparison),
        seeds=tables.seed_table(comparison, main),
        headline=headline(comparison),
        pairs=pairs,
        chance=context.chance(comparison, pairs) if pairs else [],
        scatters=figures.scatters(comparison, predictors),
        spectra=figures.spectra(comparison),
        band_errors=figures.band_errors(comparison),
        training_loss=figures.training_loss(comparison),
        costs=tables.cost_table(comparison),
        duration=context.duration(sum(s for trial in comparison.trials for s in trial.seconds.values())),
        protocol=context.protocol_fields(comparison),
        definitions=context.definitions(main),
        provenance=(provenance_rows(comparison.provenance) | {"command": comparison.command}).items(),
        analyses=render_within(analyses, "latents-") if analyses else "",
    )
