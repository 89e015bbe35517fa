"""Every metric of the catalogue beside what reads it: its white-noise value, its direction, its evidence, PSNR."""

from collections.abc import Sequence
from typing import NamedTuple

from ...metrics.catalogue import METRICS
from ...metrics.metric import Metric
from ...records.analysis import Analysis, Measurement
from ..digits import MOST_DECIMALS, decimals, fixed, number, spread

DIRECTIONS = {"lower": "↓ lower", "higher": "↑ higher", "target": "◎ in between", "neither": "– unsettled"}


class Value(NamedTuple):
    """Of means or of the decoder (label ""), or of samples. beside: what to read it by. refused: why there is none."""

    label: str
    value: str
    spread: str
    beside: tuple[str, ...]
    refused: str


class Refusal(NamedTuple):
    """Why metrics were refused for every autoencoder, and which."""

    reason: str
    metrics: tuple[str, ...]


class Row(NamedTuple):
    """One metric; told: what it rests on, by title. values: one entry an autoencoder, empty where not measured."""

    metric: Metric
    title: str
    told: tuple[tuple[str, str], ...]
    direction: str
    values: tuple[tuple[Value, ...], ...]


def metric_rows(analyses: Sequence[Analysis]) -> list[Row]:
    """What was measured of any of the autoencoders, in the catalogue's order."""
    found = [_by_key(analysis) for analysis in analyses]
    measured = {key for each in found for key in each}
    # A saved analysis may know metrics that this version's catalogue has dropped.
    keys = [*(key for key in METRICS if key in measured), *sorted(measured - METRICS.keys())]
    rows = []
    for key in keys:
        metric = METRICS.get(key) or Metric(key, key, "", "neither", "", False, "", "", "")
        entries = [each.get(key, ()) for each in found]
        values = tuple(
            _once(tuple(_value(metric, label, m, analysis) for label, m in entry))
            for entry, analysis in zip(entries, analyses, strict=True)
        )
        rows.append(Row(metric, _capitalised(metric.title), _told(metric), DIRECTIONS[metric.better], values))
    return rows


def refusals(rows: Sequence[Row]) -> tuple[list[Row], list[Refusal]]:
    """The rows with something to compare, and the others by their one reason."""
    kept: list[Row] = []
    refused: dict[str, list[str]] = {}
    for row in rows:
        reasons = {value.refused for values in row.values for value in values}
        if len(reasons) == 1 and (reason := reasons.pop()):
            refused.setdefault(reason, []).append(row.title)
        else:
            kept.append(row)
    return kept, [Refusal(reason, tuple(titles)) for reason, titles in refused.items()]


def psnr(analysis: Analysis) -> str:
    """ "PSNR 27.41 dB", or that there is none."""
    found = analysis.measurement("psnr")
    return "no PSNR" if found is None or found.value is None else f"PSNR {fixed(found.value, 2)} dB"


def _told(metric: Metric) -> tuple[tuple[str, str], ...]:
    told = (
        ("evidence", metric.evidence),
        ("range", metric.range),
        ("conventions", metric.conventions),
        ("source", metric.source),
    )
    return tuple((title, text) for title, text in told if text)


def _capitalised(title: str) -> str:
    return title[:1].upper() + title[1:]


def _once(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Samples refused for the reason that refused the means are not named again."""
    return values[:1] + tuple(v for v in values[1:] if not v.refused or v.refused != values[0].refused)


def _by_key(analysis: Analysis) -> dict[str, list[tuple[str, Measurement]]]:
    found: dict[str, list[tuple[str, Measurement]]] = {}
    for view in analysis.views:
        for key, measurement in view.measurements.items():
            found.setdefault(key, []).append(("" if view.kind == "mean" else "sample", measurement))
    for key, measurement in analysis.decoding.measurements.items() if analysis.decoding else ():
        found.setdefault(key, []).append(("", measurement))
    return found


def _value(metric: Metric, label: str, measurement: Measurement, analysis: Analysis) -> Value:
    value, error, white = measurement.value, measurement.standard_error, measurement.white
    if value is None:
        return Value(label, "", "", (), measurement.refused)
    beside = [] if label or white is None else [f"white noise: {number(white)}"]
    if metric.one_sided and not label:
        beside.insert(0, psnr(analysis) if analysis.measurement("psnr") else "no PSNR beside it")
    n = decimals(value, error)
    # Three digits where nothing says how many mean something, or where there is no room for them.
    if error is None or n == MOST_DECIMALS:
        return Value(label, number(value), "" if error is None else f"± {number(error, 2)}", tuple(beside), "")
    return Value(label, fixed(value, n), spread(error, n), tuple(beside), "")
