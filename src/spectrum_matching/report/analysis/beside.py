"""Subjects beside the latent spaces of the atlas that we analysed ourselves, in one table."""

from collections.abc import Iterable, Mapping, Sequence

from ...metrics.atlas.spaces import OwnSpace, read_atlas
from ...metrics.catalogue import METRICS
from ...metrics.latents.concentration import SEC_50
from ...records.analysis import Analysis
from ...records.measurement import Measurement
from ..table import Cell, Column, Table, measured
from .metric_rows import MAIN_METRICS

TITLES = MAIN_METRICS | {SEC_50.key: "SEC (ρ = 0.5)"}


def beside_atlas(analyses: Sequence[Analysis], spaces: Sequence[OwnSpace] | None = None) -> tuple[Table, list[str]]:
    """Return the numbers of each subject and of the atlas's latent spaces, a row each, and the names of the rows.

    spaces: those of the atlas to show. By default, of the sets of images on which the atlas has them: that of the
    subjects, or else the largest of their size.

    Raises:
        ValueError: when there is none of the size of a subject.
    """
    spaces = _comparable(analyses) if spaces is None else spaces
    entries: list[tuple[str, str, str, Mapping[str, Measurement]]] = [
        (a.subject.name, _shape(a.latent_shape, a.subject.factor), "these", _numbers(a)) for a in analyses
    ]
    entries += [(s.name, _shape(s.shape, s.factor), f"{s.images}, {s.size} pixels", s.numbers) for s in spaces]
    keys = [key for key in TITLES if any(key in numbers for *_, numbers in entries)]
    columns = [Column("latents", is_text=True), Column("images", is_text=True)]
    columns += [Column(TITLES[key], METRICS[key].unit, one_sided=METRICS[key].one_sided) for key in keys]
    rows = [
        (i, (Cell(shape), Cell(images), *(measured(numbers.get(key), 3, METRICS[key]) for key in keys)))
        for i, (_, shape, images, numbers) in enumerate(entries)
    ]
    return Table(tuple(columns), tuple(rows)), [name for name, *_ in entries]


def require_beside(sizes: Iterable[int]) -> None:
    """Check, before any work, that the atlas has latent spaces on images of each of these sizes.

    Raises:
        ValueError: naming the sizes of which it has none.
    """
    known, asked = {space.size for space in read_atlas().own}, set(sizes) - {0}
    if not asked:
        raise ValueError("--beside atlas: its latent spaces were measured on images, and these latents without any")
    if other := asked - known:
        there, here = (" and ".join(map(str, sorted(each))) for each in (known, other))
        these = f"these have {here}" if other == asked else f"some of these have {here}"
        remedy = "choose another --size" + (", or leave those subjects out" if other != asked else "")
        raise ValueError(
            f"--beside atlas: its latent spaces were measured on images of {there} pixels, and {these}: {remedy}"
        )


def _comparable(analyses: Sequence[Analysis]) -> list[OwnSpace]:
    samples = {(analysis.sample.digest, analysis.sample.size) for analysis in analyses}
    sizes = {size for _, size in samples}
    require_beside(sizes)
    of_size = [space for space in read_atlas().own if space.size in sizes]
    if same := [space for space in of_size if (space.digest, space.size) in samples]:
        return same
    most = max(space.n_images for space in of_size)
    return [space for space in of_size if space.n_images == most]


def _numbers(analysis: Analysis) -> Mapping[str, Measurement]:
    found = {key: analysis.measurement(key) for key in TITLES}
    return {key: number for key, number in found.items() if number is not None}


def _shape(shape: tuple[int, int, int], factor: int) -> str:
    return (f"f{factor} · " if factor else "") + " × ".join(map(str, shape))
