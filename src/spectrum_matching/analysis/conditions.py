"""An analysis as plain named numbers, and conditions on them: what a trainer logs, and what a CI gate checks."""

import difflib
import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

from ..metrics.catalogue import METRICS
from ..records.analysis import Analysis

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
VERDICTS = (
    "over-noisy",
    "over-smoothed",
    "matched",
    "noisy-posterior",
    "decoder-aligned",
    "decoder-partly-aligned",
    "decoder-misaligned",
    "decoder-idle",
    "scale-matches",
    "scale-undeclared",
    "scale-wrong",
    "off-centre",
    "dead-channels",
    "outlier-channels",
    "weak-reconstruction",
)
"""Every key that a finding can have."""


class Condition(NamedTuple):
    """`name operator bound`; a verdict's key alone has no operator."""

    text: str
    name: str
    operator: str
    bound: float


def numbers(analysis: Analysis) -> dict[str, float]:
    """Every scalar of an analysis by its key: of posterior means and of the decoder; those of samples end in _sample.

    Refused ones are left out.
    """
    found: dict[str, float] = {}
    for view in analysis.views:
        end = "" if view.kind == "mean" else "_sample"
        found |= {key + end: m.value for key, m in view.measurements.items() if m.value is not None}
    if analysis.decoding:
        found |= {key: m.value for key, m in analysis.decoding.measurements.items() if m.value is not None}
        found |= {f"lowpass_{p.keep}": float(p.decoded) for p in analysis.decoding.lowpass}
    found["normalised_std"] = analysis.normalisation.std
    return found


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """Conditions such as "best_delta > 1.3" or "over-noisy". ValueError naming one that is neither."""
    found = []
    for text in texts:
        if text.strip() in VERDICTS:
            found.append(Condition(text.strip(), text.strip(), "", 0.0))
            continue
        parts = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", text)
        if parts is None:
            raise ValueError(
                f"{text!r} is no condition: write one such as 'best_delta > 1.3' or 'psnr < 26', or one of the "
                f"verdicts {', '.join(VERDICTS)}"
            )
        name = parts[1].removesuffix("_sample")
        if name not in METRICS and name != "normalised_std" and not re.fullmatch(r"lowpass_\d+", name):
            near = ", ".join(difflib.get_close_matches(name, METRICS, n=4, cutoff=0.0))
            raise ValueError(f"{text!r}: nothing measured is called {parts[1]!r}; the nearest are {near}")
        found.append(Condition(text.strip(), parts[1], parts[2], float(parts[3])))
    return found


def failures(conditions: Sequence[Condition], analyses: Sequence[Analysis]) -> list[str]:
    """One line for each condition that holds of an analysis, or that cannot be decided because there is no number."""
    lines = []
    for analysis in analyses:
        known = numbers(analysis)
        keys = {finding.key for finding in analysis.findings}
        for condition in conditions:
            if not condition.operator:
                said = condition.name in keys
                lines += [f"{analysis.subject.name}: {condition.text}"] if said else []
            elif condition.name not in known:
                refused = analysis.measurement(condition.name)
                why = refused.refused if refused and refused.refused else "it was not measured"
                lines.append(f"{analysis.subject.name}: {condition.text} cannot be checked: {why}")
            elif OPERATORS[condition.operator](known[condition.name], condition.bound):
                lines.append(f"{analysis.subject.name}: {condition.text} (it is {known[condition.name]:.4g})")
    return lines
