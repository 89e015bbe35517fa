"""Every metric of the catalogue with what it is read by: white noise, the direction of improvement, PSNR."""

from collections.abc import Sequence
from typing import NamedTuple

from ...metrics.catalogue import METRICS
from ...metrics.metric import Metric, unknown_metric
from ...records.analysis import KINDS, Analysis
from ...records.measurement import Measurement
from ..digits import MOST_DECIMALS, at_end, decimals, fixed, number, spread

MAIN_METRICS = {
    "psnr": "PSNR",
    "exponent": "exponent",
    "best_delta": "best delta",
    "gap_scale_free_1": "gap at delta 1",
    "sec_25": "SEC",
    "lowpass_gap": "low-pass gap",
    "noise_psnr": "noise PSNR",
    "equivariance_scale_50": "scale error",
}
"""The metrics that summaries show, with titles short enough for headings."""
DIRECTIONS = {"lower": "↓ lower", "higher": "↑ higher", "target": "◎ in between", "neither": "– unsettled"}


class Value(NamedTuple):
    """A number with its standard error, what to read it by, or why there is none; label: for posterior samples."""

    label: str
    value: str
    spread: str
    beside: tuple[str, ...]
    refused: str


class Row(NamedTuple):
    """A metric, and its values for each autoencoder, none where it was not measured."""

    metric: Metric
    values: tuple[tuple[Value, ...], ...]


def metric_rows(analyses: Sequence[Analysis]) -> list[Row]:
    """Return what was measured of any of the autoencoders: in the catalogue's order, doubtful metrics last."""
    by_analysis = [_by_key(analysis) for analysis in analyses]
    measured = {key for each in by_analysis for key in each}
    # An analysis may have metrics of its user's own, and a saved one such as the catalogue has dropped.
    known = sorted((key for key in METRICS if key in measured), key=lambda key: bool(METRICS[key].doubt))
    keys = [*known, *sorted(measured - METRICS.keys())]
    rows = []
    for key in keys:
        metric = METRICS.get(key) or unknown_metric(key)
        values = []
        for measurements, analysis in zip(by_analysis, analyses, strict=True):
            shown = [_value(metric, label, m, analysis) for label, m in measurements.get(key, ())]
            # Samples refused for the same reason as the means are not repeated.
            values.append(tuple(v for v in shown if v is shown[0] or not v.refused or v.refused != shown[0].refused))
        rows.append(Row(metric, tuple(values)))
    return rows


def split_refusals(rows: Sequence[Row]) -> tuple[list[Row], dict[str, list[str]]]:
    """Return the rows with something to compare, and the titles of the others by their one reason."""
    kept: list[Row] = []
    refused: dict[str, list[str]] = {}
    for row in rows:
        reasons = {value.refused for values in row.values for value in values}
        if len(reasons) == 1 and (reason := reasons.pop()):
            refused.setdefault(reason, []).append(row.metric.title)
        else:
            kept.append(row)
    return kept, refused


def psnr(analysis: Analysis) -> str:
    """Return "PSNR 27.41 dB", or that there is none."""
    measurement = analysis.measurement("psnr")
    return f"PSNR {fixed(float(measurement), 2)} dB" if measurement and not measurement.refused else "no PSNR"


def _by_key(analysis: Analysis) -> dict[str, list[tuple[str, Measurement]]]:
    labelled = [("" if view.kind == "mean" else KINDS[view.kind], view.measurements) for view in analysis.views]
    labelled += [("", part.measurements) for part in (analysis.decoding, analysis.generative) if part]
    by_key: dict[str, list[tuple[str, Measurement]]] = {}
    for label, measurements in labelled:
        for key, measurement in measurements.items():
            by_key.setdefault(key, []).append((label, measurement))
    return by_key


def _value(metric: Metric, label: str, measurement: Measurement, analysis: Analysis) -> Value:
    value, error, white = measurement.value, measurement.standard_error, measurement.white
    if value is None:
        return Value(label, "", "", (), measurement.refused)
    beside = [] if label or white is None else [f"white noise: {number(white)}"]
    if metric.one_sided and not label:
        beside.insert(0, psnr(analysis) if analysis.measurement("psnr") else "no PSNR beside it")
    if end := at_end(value, metric):
        return Value(label, end, "", tuple(beside), "")
    n = decimals(value, error)
    # Three digits where nothing tells how many are significant, or where there is no room for them.
    if error is None or n == MOST_DECIMALS:
        return Value(label, number(value), "" if error is None else f"± {number(error, 2)}", tuple(beside), "")
    return Value(label, fixed(value, n), spread(error, n), tuple(beside), "")
