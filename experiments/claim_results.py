"""What the ledger is made of: results read as records, and how their numbers are written."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spectrum_matching.comparisons import Comparison, Spread, read_comparison, spread
from spectrum_matching.report.digits import fixed, number
from spectrum_matching.study_records.directional_energy import DirectionalEnergy, read_directional_energy
from spectrum_matching.study_records.frequency_bias import FrequencyBias, read_frequency_bias
from spectrum_matching.study_records.unified_view import UnifiedView, read_unified_view

RESULTS = Path(__file__).parent / "results"


class Results(NamedTuple):
    """Of every experiment that says something of a claim; commits: of the code that made each."""

    methods: Comparison
    alignment: Comparison
    unified: UnifiedView
    directions: DirectionalEnergy
    bias: FrequencyBias
    esm: dict[str, Any]
    taef2: dict[str, Any]
    small: dict[str, Any]
    commits: dict[str, str]


def load() -> Results:
    """From experiments/results."""
    methods, alignment = (
        read_comparison(RESULTS / f"compare_{name}.json") for name in ("cifar10", "cifar10_alignment")
    )
    unified = read_unified_view(RESULTS / "unified_view_cifar10.json")
    directions = read_directional_energy(RESULTS / "directional_energy_cifar10.json")
    bias = read_frequency_bias(RESULTS / "frequency_bias_cifar10.json")
    esm, taef2, small = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("what_esm_asks_for", "latents_taef2", "methods_cifar10")
    )
    commits = {
        "compare_cifar10.json": methods.provenance.commit,
        "compare_cifar10_alignment.json": alignment.provenance.commit,
        "unified_view_cifar10.json": unified.provenance.commit,
        "directional_energy_cifar10.json": directions.provenance.commit,
        "frequency_bias_cifar10.json": bias.provenance.commit,
        "what_esm_asks_for.json": esm["commit"],
        "latents_taef2.json": taef2["commit"],
        "methods_cifar10.json": small["rows"][0]["commit"],
    }
    return Results(methods, alignment, unified, directions, bias, esm, taef2, small, commits)


def fid(comparison: Comparison, method: str) -> Spread:
    """The Fréchet distance of a method's seeds."""
    return spread([value for trial in comparison.of(method) if (value := trial.generation.value("fid")) is not None])


def fids(comparison: Comparison, method: str) -> str:
    """The same in words."""
    return said([value for trial in comparison.of(method) if (value := trial.generation.value("fid")) is not None])


def said(values: Sequence[float]) -> str:
    """Mean ± half the range, to the digits that the spread leaves; the value alone where there is one."""
    mean, half = statistics.mean(values), (max(values) - min(values)) / 2
    if len(values) == 1 or half == 0:
        return number(mean)
    decimals = next(d for d in range(7) if d == 6 or half >= 10**-d)
    return f"{fixed(mean, decimals)} ± {fixed(half, decimals)}"


def ran_comparison(comparison: Comparison) -> str:
    """The command of a comparison, with scale and seeds."""
    seeds = len(comparison.of(comparison.control))
    return f"`{comparison.command}`, {seeds} seeds a row. {comparison.notes[0]}"


def ran_study(study: DirectionalEnergy | FrequencyBias) -> str:
    """The command of a study, with scale and seeds."""
    if isinstance(study, DirectionalEnergy):
        return f"`{study.command}`: {study.sample.n_images} images"
    seeds = {len(study.of(name)) for name in study.names}
    per_case = f"{min(seeds)} to {max(seeds)} seeds a case" if len(seeds) > 1 else f"{min(seeds)} seeds a case"
    return f"`{study.command}`: {len(study.cases)} trainings, {per_case}. {study.notes[0]}"
