"""What the ledger is made of: results read as records, a row of it, and how its numbers are written."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spectrum_matching.records.comparison import COMPARISON, Comparison, Spread, order, spread
from spectrum_matching.report.digits import decimals, fixed, number
from spectrum_matching.report.digits import spread as apart
from spectrum_matching.studies.directional_energy.record import DIRECTIONAL_ENERGY, DirectionalEnergy
from spectrum_matching.studies.frequency_bias.record import FREQUENCY_BIAS, Band, Case, FrequencyBias
from spectrum_matching.studies.unified_view.record import UNIFIED_VIEW, MethodReading, UnifiedView

RESULTS = Path(__file__).parent / "results"

Verdict = Literal["supported at this scale", "not supported", "undecided"]
SUPPORTED: Verdict = "supported at this scale"


class Row(NamedTuple):
    """One row. ran: what was run, with scale and seeds. measured: sentences. needs: what it would take to decide."""

    key: str
    claim: str
    ran: Sequence[str]
    measured: Sequence[str]
    verdict: Verdict
    because: str
    needs: str


class Results(NamedTuple):
    """Of every experiment that says something of a claim; commits: of the code that made each."""

    methods: Comparison
    alignment: Comparison
    redrawn: Comparison  # two seeds of the same with other first weights of the projectors
    unified: UnifiedView
    directions: DirectionalEnergy
    bias: FrequencyBias
    esm: dict[str, Any]
    taef2: dict[str, Any]
    small: dict[str, Any]
    commits: dict[str, str]


def load() -> Results:
    """From experiments/results."""
    methods, alignment, redrawn = (
        COMPARISON.read(RESULTS / f"compare_{name}.json")
        for name in ("cifar10", "cifar10_alignment", "cifar10_alignment_redrawn")
    )
    unified = UNIFIED_VIEW.read(RESULTS / "unified_view_cifar10.json")
    directions = DIRECTIONAL_ENERGY.read(RESULTS / "directional_energy_cifar10.json")
    bias = FREQUENCY_BIAS.read(RESULTS / "frequency_bias_cifar10.json")
    esm, taef2, small = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("what_esm_asks_for", "latents_taef2", "methods_cifar10")
    )
    commits = {
        "compare_cifar10.json": methods.provenance.commit,
        "compare_cifar10_alignment.json": alignment.provenance.commit,
        "compare_cifar10_alignment_redrawn.json": redrawn.provenance.commit,
        "unified_view_cifar10.json": unified.provenance.commit,
        "directional_energy_cifar10.json": directions.provenance.commit,
        "frequency_bias_cifar10.json": bias.provenance.commit,
        "what_esm_asks_for.json": esm["commit"],
        "latents_taef2.json": taef2["commit"],
        "methods_cifar10.json": small["rows"][0]["commit"],
    }
    return Results(methods, alignment, redrawn, unified, directions, bias, esm, taef2, small, commits)


def scores(comparison: Comparison, method: str, key: str) -> list[float]:
    """One score of generation, of every seed of a method."""
    return [value for trial in comparison.of(method) if (value := trial.generation.value(key)) is not None]


def fid(comparison: Comparison, method: str) -> Spread:
    """The Fréchet distance of a method's seeds."""
    return spread(scores(comparison, method, "fid"))


def fids(comparison: Comparison, method: str) -> str:
    """The same in words."""
    return said(scores(comparison, method, "fid"))


def against(comparison: Comparison, method: str, other: str | None = None) -> str:
    """ "below", "above" or "undecided": a method's Fréchet distance against another's, by default the control's."""
    return order(fid(comparison, method), fid(comparison, other or comparison.control))


def paired(comparisons: Sequence[Comparison], method: str, other: str | None = None) -> list[float]:
    """The same over all runs, seed by seed: what two methods share of a seed, such as the autoencoder, drops out."""
    pairs = [
        pair
        for run in comparisons
        for pair in zip(scores(run, method, "fid"), scores(run, other or run.control, "fid"), strict=True)
    ]
    return [one - its for one, its in pairs]


def agreed(changes: Sequence[float]) -> str:
    """ "lower" or "higher" where every seed says so, else "undecided"; a single seed decides nothing."""
    if len(changes) > 1 and max(changes) < 0:
        return "lower"
    return "higher" if len(changes) > 1 and min(changes) > 0 else "undecided"


def signs(changes: Sequence[float]) -> str:
    """Mean ± half the range, and whether the seeds agree on the direction."""
    return f"{said(changes)}, {agreed(changes)}"


def numbers(comparison: Comparison, method: str, key: str) -> list[float]:
    """One number of the autoencoder, of every seed of a method."""
    return [trial.numbers[key] for trial in comparison.of(method)]


def fid_and(comparison: Comparison, key: str) -> tuple[list[float], list[float]]:
    """Over all trials, a number of the autoencoder and the Fréchet distance."""
    trials = [trial for trial in comparison.trials if trial.generation.value("fid") is not None]
    return [t.numbers[key] for t in trials], [t.generation.value("fid") or 0.0 for t in trials]


def ends(cases: Sequence[Case], of: Callable[[Band], float]) -> str:
    """A number of the lowest and of the highest band, a case at a time."""
    return "; ".join(f"{number(of(case.bands[0]))} and {number(of(case.bands[-1]))}" for case in cases)


def over_wiener(cases: Sequence[Case]) -> str:
    """Error over the best linear denoiser's in the lowest and the highest band, with its error over fields."""

    def of(band: Band) -> str:
        n = decimals(band.ratio.value, band.ratio.standard_error)
        return f"{fixed(band.ratio.value, n)} {apart(band.ratio.standard_error, n)}"

    return "; ".join(f"{of(case.bands[0])} and {of(case.bands[-1])}" for case in cases)


def halves(cases: Sequence[Case]) -> str:
    """Updates to half of the loss in the lowest, the slowest and the highest band, a case at a time."""

    def of(case: Case) -> str:
        found = [band.half for band in case.bands]
        known = [value for value in found if value is not None]
        return ", ".join("never" if value is None else fixed(value, 0) for value in (found[0], max(known), found[-1]))

    return "; ".join(map(of, cases))


def highest(cases: Sequence[Case]) -> list[float]:
    """Error over the best linear denoiser's in the highest band, of each case."""
    return [case.bands[-1].ratio.value for case in cases]


def change(view: UnifiedView, method: MethodReading, key: str) -> str:
    """Of one number of the unified view against the control, with its word."""
    quantity, found = next(q for q in view.quantities if q.key == key), method.change(key)
    return f"{quantity.title} {said(found.changes)} {quantity.unit}, {found.word}"


def said(values: Sequence[float]) -> str:
    """Mean ± half the range, to the digits that the range leaves; the value alone where there is one."""
    mean, half = statistics.mean(values), (max(values) - min(values)) / 2
    if len(values) == 1 or half == 0:
        return number(mean)
    n = decimals(mean, half)
    return f"{fixed(mean, n)} ± {fixed(half, n)}"


def ran_comparison(comparison: Comparison) -> str:
    """The command of a comparison, with scale and seeds."""
    seeds = len(comparison.of(comparison.control))
    return f"`{comparison.command}`, {seeds} seeds a row. {comparison.notes[0]}"


def ran_alignments(comparison: Comparison, redrawn: Comparison) -> str:
    """The same of both runs of alignments."""
    n = len(redrawn.of(redrawn.control))
    return f"{ran_comparison(comparison)} {n} of the seeds again, with other first weights of the projectors."


def ran_study(study: DirectionalEnergy | FrequencyBias) -> str:
    """The command of a study, with scale and seeds."""
    if isinstance(study, DirectionalEnergy):
        return f"`{study.command}`: {study.sample.n_images} images"
    seeds = {len(study.of(name)) for name in study.names}
    per_case = f"{min(seeds)} to {max(seeds)} seeds a case" if len(seeds) > 1 else f"{min(seeds)} seeds a case"
    return f"`{study.command}`: {len(study.cases)} trainings, {per_case}. {study.notes[0]}"
