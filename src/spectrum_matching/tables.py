"""The report's numbers: tables, and sentences that say what the first of them shows."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .results import Analysis, Estimate, LowpassPoint, SpectrumMatch

REFERENCE_DELTAS = (0.0, 0.4, 1.0, 1.3)


class Cell(NamedTuple):
    """A value and, smaller, its uncertainty."""

    value: str
    spread: str = ""


class Column(NamedTuple):
    """A heading; is_text: of words rather than numbers."""

    title: str
    unit: str = ""
    is_text: bool = False


class Table(NamedTuple):
    """rows: the place of the row's autoencoder, then its cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[int, tuple[Cell, ...]], ...]


def summary_table(analyses: Sequence[Analysis]) -> Table:
    """The first numbers to look at, of posterior means."""
    columns = (
        Column("latents", "factor, channels", is_text=True),
        Column("PSNR", "dB"),
        Column("SSIM"),
        Column("latent std"),
        Column("exponent", "of 1 / f^α"),
        Column("best delta", "scale-free"),
        Column("gap at 1", "scale-free, nats"),
        Column("gap at 1", "paper, nats"),
        Column("low-pass gap", f"dB, keep {' or '.join(distinct(map(_mild_strength, analyses)))}"),
    )
    rows = []
    for place, analysis in enumerate(analyses):
        view, subject = analysis.view("mean"), analysis.subject
        free = view.match("scale_free")
        mild = mildest(analysis)
        rows.append(
            (
                place,
                (
                    Cell(f"f{subject.factor} · {subject.channels}"),
                    _cell(analysis.psnr, 2),
                    _cell(analysis.ssim, 3),
                    Cell(f"{view.std:.3g}"),
                    _cell(view.spectrum.exponent, 2),
                    Cell(best(free), interval(free)),
                    _cell(free.gap(1.0), 3),
                    _cell(view.match("paper").gap(1.0), 3),
                    Cell(_number(mild.aligned.value - mild.decoded.value, 2)) if mild else Cell("–"),
                ),
            )
        )
    return Table(columns, tuple(rows))


def latent_table(analyses: Sequence[Analysis]) -> Table:
    """Scale and shape of posterior means and of samples."""
    columns = (
        Column("latents", is_text=True),
        Column("mean"),
        Column("std"),
        Column("channel means", "least … most"),
        Column("channel stds", "least … most"),
        Column("exponent", "of 1 / f^α"),
        Column("RMSC"),
    )
    rows = [
        (
            place,
            (
                Cell(view.kind),
                Cell(_number(view.mean, 3)),
                Cell(_number(view.std, 3)),
                Cell(f"{_number(min(view.channel_means), 2)} … {_number(max(view.channel_means), 2)}"),
                Cell(f"{_number(min(view.channel_stds), 2)} … {_number(max(view.channel_stds), 2)}"),
                _cell(view.spectrum.exponent, 2),
                _cell(view.rmsc, 3),
            ),
        )
        for place, analysis in enumerate(analyses)
        for view in analysis.views
    ]
    return Table(columns, tuple(rows))


def gap_table(analyses: Sequence[Analysis]) -> Table:
    """Gaps to the reference targets and the best delta, both variants, means and samples."""
    at = tuple(Column(f"at {delta:g}", "nats") for delta in REFERENCE_DELTAS)
    columns = (
        Column("latents", is_text=True),
        Column("variant", is_text=True),
        *at,
        Column("best delta", "95 %"),
        Column("its gap", "nats"),
    )
    rows = [
        (
            place,
            (
                Cell(view.kind),
                Cell(match.variant.replace("_", "-")),
                *(_cell(match.gap(delta), 3) for delta in REFERENCE_DELTAS),
                Cell(best(match), interval(match)),
                Cell(_number(match.best_gap, 3)),
            ),
        )
        for place, analysis in enumerate(analyses)
        for view in analysis.views
        for match in view.matches
    ]
    return Table(columns, tuple(rows))


def lowpass_table(analyses: Sequence[Analysis]) -> Table:
    """The low-pass decoding curve in numbers."""
    columns = (
        Column("keep", is_text=True),
        Column("decoded", "dB"),
        Column("aligned", "dB"),
        Column("low-pass gap", "dB"),
        Column("low-passed image", "against the image, dB"),
    )
    rows = [
        (
            place,
            (
                Cell(f"{point.keep}", f"of {2 * analysis.lowpass_block - 1}"),
                _cell(point.decoded, 2),
                _cell(point.aligned, 2),
                Cell(_number(point.aligned.value - point.decoded.value, 2)),
                Cell("same") if point.keep == 2 * analysis.lowpass_block - 1 else _cell(point.removed, 2),
            ),
        )
        for place, analysis in enumerate(analyses)
        for point in analysis.lowpass
    ]
    return Table(columns, tuple(rows))


def findings(analyses: Sequence[Analysis]) -> list[str]:
    """What the first table says, in sentences."""
    gap = {a.subject.name: a.view("mean").match("scale_free").gap(1.0).value for a in analyses}
    lowpass = {a.subject.name: p.aligned.value - p.decoded.value for a in analyses if (p := mildest(a))}
    psnr = {a.subject.name: a.psnr.value for a in analyses}
    found = [f"From the images’ spectrum flattened by f¹, the latents are {_range(gap, 3, 'nats')} away."]
    if lowpass:
        found.append(
            f"On low-passed latents, the decoder falls {_range(lowpass, 2, 'dB')} short of low-passing its own output."
        )
    return [*found, f"Reconstructions reach {_range(psnr, 2, 'dB')}."]


def notes(analyses: Sequence[Analysis]) -> list[str]:
    """Each note once, with the names of those it is about unless it is about all."""
    said = []
    for note in distinct(note for analysis in analyses for note in analysis.notes):
        names = [analysis.subject.name for analysis in analyses if note in analysis.notes]
        said.append(note if len(names) == len(analyses) else f"{', '.join(names)}: {note}")
    return said


def provenance(analyses: Sequence[Analysis]) -> list[tuple[str, list[str]]]:
    """A title and one value for each autoencoder."""
    columns = [
        {
            "weights": a.subject.source,
            "class": a.subject.kind,
            "parameters": f"{a.subject.parameters:,}",
            "weights’ digest": a.subject.digest,
            "scaling, shift declared": f"{a.subject.scaling_factor:.6g}, {a.subject.shift_factor:.6g}",
            "images": a.sample.source,
            "split": a.sample.split.replace("_", " "),
            "number, size": f"{a.sample.n_images}, {a.sample.size} × {a.sample.size}",
            "images’ digest": a.sample.digest,
            "specmatch": a.provenance.version,
            "commit": a.provenance.commit or "installed package",
            "torch, diffusers": f"{a.provenance.torch}, {a.provenance.diffusers}",
            "device, precision": f"{a.provenance.device}, {a.provenance.dtype}",
            "seed": str(a.provenance.seed),
        }
        for a in analyses
    ]
    return [(title, [column[title] for column in columns]) for title in columns[0]]


def mildest(analysis: Analysis) -> LowpassPoint | None:
    """The weakest low-pass that takes anything away."""
    some = [point for point in analysis.lowpass if point.keep < 2 * analysis.lowpass_block - 1]
    return max(some, key=lambda point: point.keep, default=None)


def best(match: SpectrumMatch) -> str:
    """The best delta, or the end of the searched range that it lies at or beyond."""
    if match.best_delta <= match.deltas[0]:
        return f"≤ {_number(match.deltas[0], 2)}"
    if match.best_delta >= match.deltas[-1]:
        return f"≥ {_number(match.deltas[-1], 2)}"
    return _number(match.best_delta, 2)


def interval(match: SpectrumMatch) -> str:
    """The best delta's interval of 95 %."""
    low, high = match.best_delta_interval
    return f"{_number(low, 2)} … {_number(high, 2)}"


def _mild_strength(analysis: Analysis) -> str:
    point = mildest(analysis)
    return f"{point.keep} of {2 * analysis.lowpass_block - 1}" if point else "–"


def image_exponents(analyses: Sequence[Analysis]) -> list[str]:
    """Of the images, on each latent grid."""
    exponents = ((a.image_on_latent_grid.exponent, a.latent_shape[1:]) for a in analyses)
    return distinct(
        f"{_number(exponent.value, 2)} ± {_number(exponent.standard_error, 2)} on {h} × {w} cells"
        for exponent, (h, w) in exponents
    )


def _range(values: dict[str, float], digits: int, unit: str) -> str:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if len(values) == 1:
        return f"{_number(values[low], digits)} {unit}"
    return f"{_number(values[low], digits)} ({low}) to {_number(values[high], digits)} {unit} ({high})"


def _cell(estimate: Estimate, digits: int) -> Cell:
    return Cell(_number(estimate.value, digits), f"± {_number(estimate.standard_error, digits)}")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))
