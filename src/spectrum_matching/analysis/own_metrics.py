"""Metrics of a user's own, measured beside those of the catalogue."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..files.names import listed
from ..files.settings import validate
from ..metrics.catalogue import METRICS
from ..metrics.decoder.sweep import DecoderMetric
from ..metrics.latents.sweep import LatentMetric
from ..metrics.metric import Metric
from ..nets.python_files import PREFIX, explain_user_errors, from_file, require_prefix
from ..records.measurement import Measurement

OwnMetric = LatentMetric | DecoderMetric

KINDS = (LatentMetric, DecoderMetric)

BETTER = {"lower": "; lower is better", "higher": "; higher is better", "target": "; best in between", "neither": ""}


def open_metrics(sources: Sequence[str]) -> tuple[OwnMetric, ...]:
    """Open metrics by their command-line names, "python:FILE.py:NAME": each a metric, or a function that returns one.

    Raises:
        ValueError: when one does not open, or is not such a metric.
    """
    for source in sources:
        require_prefix(source)
        if not source.startswith(PREFIX):
            raise ValueError(f"--metric {source}: give python:FILE.py:NAME, a LatentMetric or a DecoderMetric")
    metrics = tuple(from_file(source, KINDS) for source in sources)
    checked_metrics(metrics)
    return metrics


def checked_metrics(metrics: Sequence[OwnMetric]) -> tuple[OwnMetric, ...]:
    """Return the metrics, whose code then raises ValueErrors that name them.

    Raises:
        ValueError: for anything that is no such metric, and for a key that another metric has.
    """
    taken = set(METRICS)
    for metric in metrics:
        if not isinstance(metric, KINDS):
            raise ValueError(f"a metric must be a LatentMetric or a DecoderMetric, got {type(metric).__name__}")
        for key in keys_of(metric):
            if key in taken:
                raise ValueError(f"two metrics have the key {key!r}: give your own another")
            taken.add(key)
    return tuple(map(_guarded, metrics))


def keys_of(metric: OwnMetric) -> tuple[str, ...]:
    """Return the keys of a metric's numbers."""
    return tuple(each.key for each in metric.metrics)


def own_notes(metrics: Sequence[OwnMetric]) -> tuple[str, ...]:
    """Return a note on what each number means, since an analysis carries no descriptions but the catalogue's."""
    return tuple(_note(each) for metric in metrics for each in metric.metrics)


def _note(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.key} is no metric of the catalogue: {metric.title}{unit} ({metric.range}{BETTER[metric.better]})."


def _guarded(metric: OwnMetric) -> OwnMetric:
    keys = keys_of(metric)
    what = f"metric {listed(keys)} fails"

    def collect(batch: Any) -> Any:
        with explain_user_errors(what):
            return metric.collect(batch)

    def numbers(sweep: Any) -> dict[str, Measurement]:
        with explain_user_errors(what):
            found = dict(metric.numbers(sweep))
        for key, number in found.items():
            if key not in keys:
                raise ValueError(f"metric {listed(keys)} also gives {key}: describe it by a Metric of this key")
            if not isinstance(number, Measurement):
                raise ValueError(f"metric {key} gives {type(number).__name__}, expected a Measurement")
        # A file holds no NaN, and no number of numpy's.
        return {key: validate(number, source=f"metric {key}") for key, number in found.items()}

    parts: dict[str, Any] = {"collect": collect, "numbers": numbers}
    return replace(metric, **parts)
