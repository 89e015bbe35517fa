"""Named numbers of an analysis, and conditions on them: what a trainer logs, and what a CI gate checks."""

import difflib
import math
import operator
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..metrics.catalogue import METRICS
from ..records.analysis import FINDING_KEYS, Analysis
from ..records.measurement import Measurement

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Condition(NamedTuple):
    """`name operator bound`; a finding, named by its key, has no operator."""

    text: str
    name: str
    operator: str
    bound: float


def measurements(analysis: Analysis) -> dict[str, Measurement]:
    """Return what was measured by name, of posterior means, decoder and generation; names of samples end in _sample."""
    found: dict[str, Measurement] = {}
    for view in analysis.views:
        end = "" if view.kind == "mean" else "_sample"
        found |= {key + end: measurement for key, measurement in view.measurements.items()}
    if analysis.decoding:
        found |= analysis.decoding.measurements
        found |= {f"lowpass_{point.keep}": point.decoded for point in analysis.decoding.lowpass}
    if analysis.generative:
        found |= analysis.generative.measurements
    return found | {"normalised_std": analysis.normalisation.std}


def numbers(analysis: Analysis, prefix: str = "") -> dict[str, float]:
    """Return the values of `measurements`, their names after a prefix such as "val/"; what was refused is left out.

    Names: the keys of `spectrum_matching.metrics.METRICS` and of metrics of your own; KEY_sample for posterior samples,
    where KEY is of latents; lowpass_K for the PSNR of decoded latents of which K diagonals were kept; normalised_std
    for the standard deviation after the declared normalisation. What was not asked for is not there.
    """
    return {prefix + name: m.value for name, m in measurements(analysis).items() if m.value is not None}


def read_conditions(texts: Sequence[str], own: Collection[str] = ()) -> list[Condition]:
    """Parse conditions such as "best_delta > 1.3" or "decoder-idle"; own: keys of metrics beside the catalogue's.

    Raises:
        ValueError: for a text that is neither.
    """
    conditions, keys = [], [*METRICS, *own]
    for text in texts:
        if text.strip() in FINDING_KEYS:
            conditions.append(Condition(text.strip(), text.strip(), "", 0.0))
            continue
        parts = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", text)
        if parts is None:
            raise ValueError(
                f"{text!r} is not a condition: write one such as 'best_delta > 1.3' or 'psnr < 26', or a key of the "
                f"verdict: {', '.join(FINDING_KEYS)}"
            )
        name = parts[1].removesuffix("_sample")
        if name not in keys and name != "normalised_std" and not re.fullmatch(r"lowpass_\d+", name):
            near = ", ".join(difflib.get_close_matches(name, keys, n=4, cutoff=0.0))
            raise ValueError(f"{text!r}: nothing measured is called {parts[1]!r}; the nearest are {near}")
        if math.isinf(bound := float(parts[3])):
            raise ValueError(f"{text!r}: {parts[3]} is too large for a number")
        conditions.append(Condition(text.strip(), parts[1], parts[2], bound))
    return conditions


def failures(conditions: Sequence[Condition], analyses: Sequence[Analysis]) -> list[str]:
    """Return a line for each condition that holds of an analysis, or cannot be checked for want of a number."""
    lines = []
    for analysis in analyses:
        known, missing = measurements(analysis), Measurement(None, refused="it was not measured")
        keys = {finding.key for finding in analysis.findings}
        for condition in conditions:
            number = known.get(condition.name, missing)
            if not condition.operator:
                lines += [f"{analysis.subject.name}: {condition.text}"] if condition.name in keys else []
            elif number.value is None:
                lines.append(f"{analysis.subject.name}: {condition.text} cannot be checked: {number.refused}")
            elif OPERATORS[condition.operator](number.value, condition.bound):
                metric = METRICS.get(condition.name.removesuffix("_sample"))
                end = metric.beyond(number.value) if metric else ""
                lines.append(f"{analysis.subject.name}: {condition.text} (it is {end}{number.value:.4g})")
    return lines
