"""The report's tables: everything measured, in numbers. The catalogue's metrics stand in metric_rows.py."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...metrics.catalogue import METRICS
from ...metrics.latents.spectra import BEST_DELTA
from ...records.analysis import Analysis, SpectrumMatch
from ..digits import at_end, fixed
from ..table import MISSING, Cell, Column, Table, distinct, extremes, measured, plain
from .metric_rows import MAIN_METRICS

REFERENCE_DELTAS = (0.0, 0.4, 1.0, 1.3)
STATES = {"live": "live", "dead": "✕ dead", "outlier": "▲ outlier"}

Field = tuple[Column, Callable[[Any], Cell]]
"""A column, and the function from a row's entry to its cell."""


def summary_table(analyses: Sequence[Analysis]) -> Table:
    """Return the main numbers, of posterior means; those that no autoencoder has are left out."""
    strengths = " or ".join(distinct(filter(None, map(_mildest_strength, analyses))))
    fields = [
        _main("psnr", "dB", 2),
        _main("exponent", "of 1 / f^α", 2),
        (_main("best_delta", "scale-free", 2)[0], _best_delta),
        _main("gap_scale_free_1", "scale-free, nats", 3),
        _main("sec_25", "ρ = 0.25", 3),
        (_main("lowpass_gap", f"dB, keep {strengths}", 2)[0], _mildest_gap),
        _main("noise_psnr", "dB", 2),
        _main("equivariance_scale_50", "half size", 3),
    ]
    kept = [(column, cell) for column, cell in fields if any(cell(a).key is not None for a in analyses)]
    return _table(enumerate(analyses), (Column("latents", "factor · shape", is_text=True), _shape), *kept)


def latent_table(analyses: Sequence[Analysis]) -> Table:
    """Return scale and shape of posterior means and of posterior samples, raw."""
    return _table(
        ((i, (view, a.name_of(view))) for i, a in enumerate(analyses) for view in a.views),
        (Column("latents", is_text=True), lambda row: Cell(row[1])),
        (Column("mean"), lambda row: plain(row[0].mean)),
        (Column("std"), lambda row: plain(row[0].std)),
        (Column("channel means", "least … most"), lambda row: extremes(c.mean for c in row[0].channels)),
        (Column("channel stds", "least … most"), lambda row: extremes(c.std for c in row[0].channels)),
        (Column("exponent", "of 1 / f^α"), lambda row: measured(row[0].spectrum.exponent, 2)),
        (Column("not live", "channels"), lambda row: _share([c.state != "live" for c in row[0].channels])),
    )


def normalisation_table(analyses: Sequence[Analysis]) -> Table:
    """Return what diffusion sees after the declared normalisation."""
    return _table(
        ((i, (a.normalisation, a.name_of(a.diffused))) for i, a in enumerate(analyses)),
        (Column("latents", is_text=True), lambda row: Cell(row[1])),
        (Column("declared", is_text=True), lambda row: Cell(row[0].convention)),
        (Column("std", "after it"), lambda row: measured(row[0].std, 3)),
        (Column("channel means", "least … most"), lambda row: extremes(row[0].channel_means)),
        (Column("channel stds", "least … most"), lambda row: extremes(row[0].channel_stds)),
        (
            Column("suggested scaling factor", "1 / std of raw latents"),
            lambda row: plain(row[0].suggested_scaling_factor, 4),
        ),
    )


def gap_table(analyses: Sequence[Analysis]) -> Table:
    """Return the gaps to the reference targets and the best delta, both variants, posterior means and samples."""
    return _table(
        ((i, (a.name_of(view), match)) for i, a in enumerate(analyses) for view in a.views for match in view.matches),
        (Column("latents", is_text=True), lambda row: Cell(row[0])),
        (Column("variant", is_text=True), lambda row: Cell(row[1].variant.replace("_", "-"))),
        *(
            (Column(f"at {delta:g}", "nats"), lambda row, delta=delta: measured(row[1].gap(delta), 3))
            for delta in REFERENCE_DELTAS
        ),
        (Column("best delta", "95 %"), lambda row: _delta(row[1])),
        (Column("its gap", "nats"), lambda row: plain(row[1].best_gap)),
    )


def lowpass_table(analyses: Sequence[Analysis]) -> Table:
    """Return the low-pass decoding curve in numbers."""
    return _table(
        ((i, (p, a.decoding.diagonals)) for i, a in enumerate(analyses) if a.decoding for p in a.decoding.lowpass),
        (Column("keep", is_text=True), lambda row: Cell(str(row[0].keep), f"of {row[1]}")),
        (Column("decoded", "dB"), lambda row: measured(row[0].decoded, 2)),
        (Column("aligned", "dB"), lambda row: measured(row[0].aligned, 2)),
        (Column("low-pass gap", "dB"), lambda row: measured(row[0].gap, 2)),
        (
            Column("low-passed image", "against the image, dB"),
            lambda row: Cell("same") if row[0].keep == row[1] else measured(row[0].removed, 2),
        ),
    )


def noise_table(analyses: Sequence[Analysis]) -> Table:
    """Return what white noise in the latents does to the output."""
    return _table(
        ((i, point) for i, a in enumerate(analyses) if a.decoding for point in a.decoding.noise),
        (Column("strength", "of a channel’s std", is_text=True), lambda point: Cell(f"{point.strength:g}")),
        (Column("PSNR", "dB"), lambda point: measured(point.psnr, 2)),
        (Column("response", "pixel change / noise"), lambda point: measured(point.response, 3)),
    )


def equivariance_table(analyses: Sequence[Analysis]) -> Table:
    """Return the equivariance errors by transform."""
    return _table(
        ((i, point) for i, analysis in enumerate(analyses) for point in analysis.equivariance),
        (Column("transform", is_text=True), lambda point: Cell(point.transform)),
        (Column("resampler", is_text=True), lambda point: Cell(point.resampler or "none needed")),
        (Column("error"), lambda point: measured(point.error, 3)),
    )


def channel_lists(analyses: Sequence[Analysis]) -> list[tuple[str, Table]]:
    """Return for each autoencoder how many channels it has, in which state, and a table of them, of posterior means."""
    lists = []
    for analysis in analyses:
        channels = analysis.view("mean").channels
        counts = {state: sum(channel.state == state for channel in channels) for state in ("dead", "outlier")}
        words = [f"{n} {state}{'s' * (state == 'outlier' and n > 1)}" for state, n in counts.items() if n]
        summary = f"{len(channels)} channel{'s' * (len(channels) > 1)}, {' and '.join(words) or 'all live'}"
        table = _table(
            ((i, (i, channel)) for i, channel in enumerate(channels)),
            (Column("channel", is_text=True), lambda row: Cell(str(row[0]))),
            (Column("state", is_text=True), lambda row: Cell(STATES[row[1].state])),
            (Column("mean"), lambda row: plain(row[1].mean)),
            (Column("std"), lambda row: plain(row[1].std)),
            (Column("kurtosis", "excess; Gaussian: 0"), lambda row: plain(row[1].kurtosis)),
            (Column("exponent", "of 1 / f^α"), lambda row: plain(row[1].exponent)),
        )
        lists.append((summary, table))
    return lists


def best(match: SpectrumMatch) -> str:
    """Return the best delta, or the end of the searched range where it lies at or beyond that."""
    return _bounded(match.best_delta)


def shape(analysis: Analysis) -> str:
    """Return the shape of the latents, "c × h × w"."""
    return " × ".join(map(str, analysis.latent_shape))


def _table(entries: Iterable[tuple[int, Any]], *fields: Field) -> Table:
    rows = tuple((index, tuple(cell(entry) for _, cell in fields)) for index, entry in entries)
    return Table(tuple(column for column, _ in fields), rows)


def _main(key: str, unit: str, n_decimals: int) -> Field:
    column = Column(MAIN_METRICS[key], unit, one_sided=METRICS[key].one_sided)
    return column, lambda analysis: measured(analysis.measurement(key), n_decimals)


def _shape(analysis: Analysis) -> Cell:
    factor = f"f{analysis.subject.factor} · " if analysis.subject.factor else ""
    return Cell(factor + shape(analysis))


def _share(flags: Sequence[bool]) -> Cell:
    return Cell(f"{sum(flags)} of {len(flags)}", "", sum(flags))


def _best_delta(analysis: Analysis) -> Cell:
    view = analysis.view("mean")
    return _delta(view.match("scale_free")) if view.matches else MISSING


def _delta(match: SpectrumMatch) -> Cell:
    within = "" if at_end(match.best_delta, BEST_DELTA) else " … ".join(map(_bounded, match.best_delta_interval))
    return Cell(best(match), within, match.best_delta)


def _bounded(delta: float) -> str:
    return at_end(delta, BEST_DELTA) or fixed(delta, 2)


def _mildest_gap(analysis: Analysis) -> Cell:
    point = analysis.decoding.mildest if analysis.decoding else None
    return measured(point.gap, 2) if point else MISSING


def _mildest_strength(analysis: Analysis) -> str:
    point = analysis.decoding.mildest if analysis.decoding else None
    return f"{point.keep} of {analysis.decoding.diagonals}" if point and analysis.decoding else ""
