"""The page of a comparison that is not finished, which the browser loads again and again while it is running."""

from collections.abc import Sequence

from ...metrics.atlas.spaces import read_atlas
from ...records.analysis import Analysis
from ..analysis.beside import beside_atlas
from ..template import fill

SHOWN = "bsds500"
"""The images on which the atlas's latent spaces that are shown were measured."""


def render_progress(
    title: str, now: str, lines: Sequence[str], analyses: Sequence[Analysis], report: str = "", is_running: bool = True
) -> str:
    """Return the page: what is being done, real latent spaces beside those that were analyzed, and their report.

    now: the work in progress, or where it was interrupted. lines: what comes next, and how long it may take.
    report: `render_within` of the analyses, whose figures take seconds to draw. is_running: otherwise the page does not
    load itself again.
    """
    spaces = [space for space in read_atlas().own if space.images == SHOWN]
    table, names = beside_atlas(analyses, spaces)
    under = (
        f"Those named “tiny” are small autoencoders of published latent spaces, as we measured them on "
        f"{spaces[0].n_images} photographs at {spaces[0].size} pixels; they come with the package. "
    )
    if analyses:
        under += (
            f"What is trained here sees {analyses[0].sample.size} pixels and some minutes of training: compare orders "
            f"of magnitude, not digits."
        )
    return fill(
        "comparison/progress.html",
        title=title,
        is_running=is_running,
        now=now,
        lines=lines,
        names=names,
        table=table,
        under=under,
        analyses=report,
    )
