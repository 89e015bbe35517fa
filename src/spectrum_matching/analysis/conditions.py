"""Named numbers of an analysis, and conditions on them: what a trainer logs, and what a CI gate checks."""

import difflib
import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..metrics.catalogue import METRICS
from ..records.analysis import FINDING_KEYS, Analysis

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Condition(NamedTuple):
    """`name operator bound`; the key of a finding alone has no operator."""

    text: str
    name: str
    operator: str
    bound: float


def numbers(analysis: Analysis) -> dict[str, float]:
    """Return the scalars of an analysis by key, of posterior means and of the decoder; those of samples end in _sample.

    Numbers without a value are left out.
    """
    numbers: dict[str, float] = {}
    for view in analysis.views:
        end = "" if view.kind == "mean" else "_sample"
        numbers |= {key + end: m.value for key, m in view.measurements.items() if m.value is not None}
    if analysis.decoding:
        numbers |= {key: m.value for key, m in analysis.decoding.measurements.items() if m.value is not None}
        numbers |= {f"lowpass_{p.keep}": float(p.decoded) for p in analysis.decoding.lowpass}
    numbers["normalised_std"] = analysis.normalisation.std
    return numbers


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """Parse conditions such as "best_delta > 1.3" or "over-noisy".

    Raises:
        ValueError: for a text that is neither.
    """
    conditions = []
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
        if name not in METRICS and name != "normalised_std" and not re.fullmatch(r"lowpass_\d+", name):
            near = ", ".join(difflib.get_close_matches(name, METRICS, n=4, cutoff=0.0))
            raise ValueError(f"{text!r}: nothing measured is called {parts[1]!r}; the nearest are {near}")
        conditions.append(Condition(text.strip(), parts[1], parts[2], float(parts[3])))
    return conditions


def failures(conditions: Sequence[Condition], analyses: Sequence[Analysis]) -> list[str]:
    """Return a line for each condition that holds of an analysis, or cannot be checked for want of a number."""
    lines = []
    for analysis in analyses:
        known = numbers(analysis)
        keys = {finding.key for finding in analysis.findings}
        for condition in conditions:
            if not condition.operator:
                lines += [f"{analysis.subject.name}: {condition.text}"] if condition.name in keys else []
            elif condition.name not in known:
                refused = analysis.measurement(condition.name)
                why = refused.refused if refused and refused.refused else "it was not measured"
                lines.append(f"{analysis.subject.name}: {condition.text} cannot be checked: {why}")
            elif OPERATORS[condition.operator](known[condition.name], condition.bound):
                lines.append(f"{analysis.subject.name}: {condition.text} (it is {known[condition.name]:.4g})")
    return lines
