"""Maps between latent spaces as one self-contained page: the answer, what is lost by frequency, and pictures."""

from ...records.latent_maps import LatentComparison
from ..digits import number
from ..study_page import Block, StudyTable, render_study
from . import figures, tables
from .tables import KERNELS, is_pair


def render(comparison: LatentComparison) -> str:
    """Return the page. It loads nothing, and the same record gives the same bytes."""
    names = comparison.names
    title = "Which latent space is a drop-in for which?"
    if is_pair(comparison):
        title = f"Is {names[1]} a drop-in for {names[0]}?"
    subjects = [space.subject for space in comparison.spaces]
    settings = [(s.name, f"{s.source} · {s.kind}, digest {s.digest}".strip(" ·")) for s in subjects]
    return render_study(comparison, title, lead(comparison), _blocks(comparison), names, settings)


def lead(comparison: LatentComparison) -> list[str]:
    """Return the answer: a sentence for each direction of two spaces; of more the nearest two and how many serve."""
    sample, answers = comparison.sample, [direction.answer for direction in comparison.directions]
    measured_on = (
        f"Measured on {sample.coverage}, from {sample.source}, at {sample.size} × {sample.size} pixels; latents of "
        f"{comparison.n_tests} were decoded. Every map was tried on images that it was not fitted to."
    )
    if is_pair(comparison):
        return [*(direction.sentence for direction in comparison.directions), measured_on]
    counted = (
        f"Of {len(answers)} directions {answers.count('drop-in')} decode as they are, {answers.count('after a map')} "
        f"after a linear map, {answers.count('no')} do not, and {answers.count('undecided')} are undecided."
    )
    return [tables.nearest(comparison), counted, measured_on]


def _blocks(comparison: LatentComparison) -> tuple[Block, ...]:
    pair = is_pair(comparison)
    by = "" if pair else " Maps are the widest that were fitted."
    key = tuple(KERNELS.values()) if pair else None
    own = "Grey: from the decoder’s own latents"
    own += "; dashed: from the same latents by their own decoder." if pair else "."
    rows = (
        "from its own latents, and from the other’s by each map." if pair else "each column from one space’s latents."
    )
    bands = [tables.band_table(comparison, target) for target in tables.targets(comparison)]
    return (
        Block(
            "Every direction",
            (
                "A linear map takes raw latents of one space to those of another, each position by itself (1 × 1) or "
                "with its eight neighbours (3 × 3). R² is the share of the variance of the other’s latents that it "
                "explains. Loss is PSNR below the own reconstructions of the worse of the two autoencoders: neither "
                "the one’s latents nor the other’s decoder allow for more.",
            ),
            tables=(*_direction_tables(comparison), _table("The spaces", tables.space_table(comparison))),
        ),
        Block(
            "Explained by frequency",
            (
                f"Share of the power of the target’s latents that the map explains, by band of their grid: 1 is all of "
                f"it, 0 no more than each channel’s mean; values below {number(figures.FLOOR, 2)} are cut off.{by}",
            ),
            figures.latent_panels(comparison),
            tuple(
                StudyTable(f"Of {target}’s latents, by band", table, "from", folded=True, dense=True)
                for target, table in zip(tables.targets(comparison), bands, strict=True)
            ),
            key=key,
        ),
        Block(
            "Lost in the pictures",
            (f"Share of the images’ power that decoded images have right, by frequency. {own}{by}",),
            figures.image_panels(comparison),
            key=key,
        ),
        Block(
            "Pictures",
            (f"Each row is drawn by one decoder, {rows} Large images are cropped to their centre.{by}",),
            pictures=figures.picture_matrices(comparison),
        ),
        Block(
            "Channels",
            (
                "Cosines are between channels of one number, less their means, of latents of one shape: without a map, "
                "a drop-in needs all of them near 1.",
            ),
            tables=(StudyTable("By channel", tables.channel_table(comparison), "from"),),
        ),
        *((Block("Evidence", tuple(direction.evidence for direction in comparison.directions)),) if pair else ()),
    )


def _direction_tables(comparison: LatentComparison) -> tuple[StudyTable, ...]:
    whole = tables.direction_table(comparison)
    if is_pair(comparison):
        return (_table("Routes", whole),)
    return (
        _table("R²", tables.matrix_table(comparison, lambda route: route.r2, 3)),
        _table("Loss, dB", tables.matrix_table(comparison, lambda route: route.loss, 2)),
        StudyTable("Every route", whole, "latents of", folded=True, dense=True),
    )


def _table(title: str, table: tables.Table) -> StudyTable:
    return StudyTable(title, table, "latents of", dense=True)
