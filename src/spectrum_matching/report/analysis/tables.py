"""The report's tables: all that was measured, in numbers. The catalogue's metrics stand in metric_rows.py."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...metrics.catalogue import METRICS
from ...records.analysis import Analysis, SpectrumMatch
from ...records.measurement import Measurement
from ..digits import fixed, number, spread
from ..table import MISSING, Cell, Column, Table, distinct

REFERENCE_DELTAS = (0.0, 0.4, 1.0, 1.3)


SCALE = "equivariance_scale_50"
STATES = {"live": "live", "dead": "✕ dead", "outlier": "▲ outlier"}


def summary_table(analyses: Sequence[Analysis]) -> Table:
    """The first numbers to look at, of posterior means; what none of the autoencoders has is left out."""
    strengths = " or ".join(distinct(filter(None, map(_mild_strength, analyses))))
    candidates = (
        (Column("PSNR", "dB"), _measured(analyses, "psnr", 2)),
        (Column("exponent", "of 1 / f^α"), _measured(analyses, "exponent", 2)),
        (Column("best delta", "scale-free"), [_best_delta(a) for a in analyses]),
        (Column("gap at 1", "scale-free, nats"), _measured(analyses, "gap_scale_free_1", 3)),
        (_one_sided("SEC", "ρ = 0.25", "sec_25"), _measured(analyses, "sec_25", 3)),
        (_one_sided("low-pass gap", f"dB, keep {strengths}", "lowpass_gap"), [_mild_gap(a) for a in analyses]),
        (_one_sided("noise PSNR", "dB", "noise_psnr"), _measured(analyses, "noise_psnr", 2)),
        (_one_sided("scale error", "half size", SCALE), _measured(analyses, SCALE, 3)),
    )
    kept = [(column, cells) for column, cells in candidates if any(cell.key is not None for cell in cells)]
    rows = zip([_shape(a) for a in analyses], *(cells for _, cells in kept), strict=True)
    columns = (Column("latents", "factor · shape", is_text=True), *(column for column, _ in kept))
    return Table(columns, tuple(enumerate(rows)))


def latent_table(analyses: Sequence[Analysis]) -> Table:
    """Scale and shape of posterior means and of samples, raw."""
    columns = (
        Column("latents", is_text=True),
        Column("mean"),
        Column("std"),
        Column("channel means", "least … most"),
        Column("channel stds", "least … most"),
        Column("exponent", "of 1 / f^α"),
        Column("not live", "channels"),
    )
    rows = [
        (
            place,
            (
                Cell(view.kind),
                _plain(view.mean),
                _plain(view.std),
                _range(channel.mean for channel in view.channels),
                _range(channel.std for channel in view.channels),
                _estimate(view.spectrum.exponent, 2),
                Cell(f"{(n := sum(c.state != 'live' for c in view.channels))} of {len(view.channels)}", "", n),
            ),
        )
        for place, analysis in enumerate(analyses)
        for view in analysis.views
    ]
    return Table(columns, tuple(rows))


def normalisation_table(analyses: Sequence[Analysis]) -> Table:
    """What diffusion would see after the declared normalisation."""
    columns = (
        Column("declared", is_text=True),
        Column("std", "after it"),
        Column("channel means", "least … most"),
        Column("channel stds", "least … most"),
        Column("suggested scaling factor", "1 / std of raw latents"),
    )
    rows = [
        (
            place,
            (
                Cell(a.normalisation.convention),
                _plain(a.normalisation.std),
                _range(a.normalisation.channel_means),
                _range(a.normalisation.channel_stds),
                _plain(a.normalisation.suggested_scaling_factor, 4),
            ),
        )
        for place, a in enumerate(analyses)
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
                *(_estimate(match.gap(delta), 3) for delta in REFERENCE_DELTAS),
                Cell(best(match), interval(match), match.best_delta),
                _plain(match.best_gap),
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
                Cell(f"{point.keep}", f"of {2 * decoding.lowpass_block - 1}"),
                _estimate(point.decoded, 2),
                _estimate(point.aligned, 2),
                _estimate(point.gap, 2),
                Cell("same") if point.keep == 2 * decoding.lowpass_block - 1 else _estimate(point.removed, 2),
            ),
        )
        for place, analysis in enumerate(analyses)
        if (decoding := analysis.decoding)
        for point in decoding.lowpass
    ]
    return Table(columns, tuple(rows))


def noise_table(analyses: Sequence[Analysis]) -> Table:
    """What white noise in the latents does to the output."""
    columns = (
        Column("strength", "of a channel’s std", is_text=True),
        Column("PSNR", "dB"),
        Column("response", "pixel change / noise"),
    )
    rows = [
        (place, (Cell(f"{point.strength:g}"), _estimate(point.psnr, 2), _estimate(point.response, 3)))
        for place, analysis in enumerate(analyses)
        if analysis.decoding
        for point in analysis.decoding.noise
    ]
    return Table(columns, tuple(rows))


def equivariance_table(analyses: Sequence[Analysis]) -> Table:
    """Errors by move."""
    columns = (Column("move", is_text=True), Column("resampler", is_text=True), Column("error"))
    rows = [
        (place, (Cell(point.move), Cell(point.resampler or "none needed"), _estimate(point.error, 3)))
        for place, analysis in enumerate(analyses)
        for point in analysis.equivariance
    ]
    return Table(columns, tuple(rows))


class ChannelList(NamedTuple):
    """One autoencoder's channels. summary: how many there are, and of which state. rows: the state, then cells."""

    place: int
    summary: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def channel_lists(analyses: Sequence[Analysis]) -> list[ChannelList]:
    """Channel by channel, of posterior means."""
    columns = (
        Column("channel", is_text=True),
        Column("state", is_text=True),
        Column("mean"),
        Column("std"),
        Column("kurtosis", "excess; Gaussian: 0"),
        Column("exponent", "of 1 / f^α"),
    )
    lists = []
    for place, analysis in enumerate(analyses):
        channels = analysis.view("mean").channels
        counts = {state: sum(c.state == state for c in channels) for state in ("dead", "outlier")}
        said = [f"{n} {state}{'s' * (state == 'outlier' and n > 1)}" for state, n in counts.items() if n]
        summary = f"{len(channels)} channel{'s' * (len(channels) > 1)}, {' and '.join(said) or 'all live'}"
        rows = tuple(
            (
                channel.state,
                (
                    Cell(str(i)),
                    Cell(STATES[channel.state]),
                    _plain(channel.mean),
                    _plain(channel.std),
                    _plain(channel.kurtosis),
                    _plain(channel.exponent),
                ),
            )
            for i, channel in enumerate(channels)
        )
        lists.append(ChannelList(place, summary, columns, rows))
    return lists


def best(match: SpectrumMatch) -> str:
    """The best delta, or the end of the searched range that it lies at or beyond."""
    if match.best_delta <= match.deltas[0]:
        return f"≤ {fixed(match.deltas[0], 2)}"
    if match.best_delta >= match.deltas[-1]:
        return f"≥ {fixed(match.deltas[-1], 2)}"
    return fixed(match.best_delta, 2)


def interval(match: SpectrumMatch) -> str:
    """The best delta's interval of 95 %."""
    low, high = match.best_delta_interval
    return f"{fixed(low, 2)} … {fixed(high, 2)}"


def _one_sided(title: str, unit: str, key: str) -> Column:
    return Column(title, unit, one_sided=METRICS[key].one_sided)


def _shape(analysis: Analysis) -> Cell:
    factor = f"f{analysis.subject.factor} · " if analysis.subject.factor else ""
    return Cell(factor + shape(analysis))


def shape(analysis: Analysis) -> str:
    """Of the latents: "c × h × w"."""
    return " × ".join(map(str, analysis.latent_shape))


def _measured(analyses: Sequence[Analysis], key: str, n_decimals: int) -> list[Cell]:
    cells = []
    for analysis in analyses:
        found = analysis.measurement(key)
        if found is None or found.value is None:
            cells.append(Cell("refused") if found else MISSING)
        else:
            written = spread(found.standard_error, n_decimals)
            cells.append(Cell(fixed(found.value, n_decimals), written, found.value))
    return cells


def _best_delta(analysis: Analysis) -> Cell:
    view = analysis.view("mean")
    if not view.matches:
        return MISSING
    match = view.match("scale_free")
    return Cell(best(match), interval(match), match.best_delta)


def _mild_gap(analysis: Analysis) -> Cell:
    point = analysis.decoding.mildest if analysis.decoding else None
    return _estimate(point.gap, 2) if point else MISSING


def _mild_strength(analysis: Analysis) -> str:
    point = analysis.decoding.mildest if analysis.decoding else None
    return f"{point.keep} of {2 * analysis.decoding.lowpass_block - 1}" if point and analysis.decoding else ""


def _estimate(estimate: Measurement, n_decimals: int) -> Cell:
    value = float(estimate)
    return Cell(fixed(value, n_decimals), spread(estimate.standard_error, n_decimals), value)


def _plain(value: float | None, digits: int = 3) -> Cell:
    return MISSING if value is None else Cell(number(value, digits), "", value)


def _range(values: Iterable[float]) -> Cell:
    ordered = sorted(values)
    return Cell(f"{number(ordered[0])} … {number(ordered[-1])}", "", ordered[-1])
