"""Which numbers foretell generation, on published tokenizers and on our own comparison?

    python experiments/which_numbers.py

Writes the table of docs/which_numbers_to_trust.md and its figure, docs/which_numbers_to_trust.svg, from what is known:
the records of the metrics (published tokenizers of many families), the atlas (published pairs before and after one
change), and experiments/results/compare_cifar10.json (nine methods of one shape, means over seeds). Run it again when
one of them has changed.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata

from spectrum_matching.metrics.atlas.known_pairs import lower_is_better, published_pairs, share
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.metric import Published
from spectrum_matching.metrics.ranks import rank_correlation
from spectrum_matching.seeding import seeded

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
PAGE = DOCS / "which_numbers_to_trust.md"
OUTCOMES = ("fid", "fid_reconstructions")
SHUFFLES = 2000
Numbers = dict[str, Any]


def _number(key: str) -> Callable[[Numbers], float | None]:
    return lambda trial: trial["numbers"].get(key)


def _distance_of_delta(trial: Numbers) -> float | None:
    delta = trial["numbers"].get("best_delta")
    return None if delta is None else abs(delta - 1)


def _rfid(trial: Numbers) -> float | None:
    return trial["reconstruction"]["scores"]["rfid"]["value"]


def _unmeasured(trial: Numbers) -> float | None:
    return None


class Predictor(NamedTuple):
    """One number: how its value in a trial is read, its metric, and the claimed sign of its correlation with FID."""

    title: str
    key: str
    value: Callable[[Numbers], float | None]
    sign: int


PREDICTORS = (
    Predictor("PSNR", "psnr", _number("psnr"), -1),
    Predictor("reconstruction Fréchet distance", "rfid", _rfid, 1),
    Predictor("gap at delta 1, scale-free", "gap_scale_free_1", _number("gap_scale_free_1"), 1),
    Predictor("distance of the best delta from 1", "best_delta", _distance_of_delta, 1),
    Predictor("exponent", "exponent", _number("exponent"), 1),
    Predictor("SEC, ρ = 0.25", "sec_25", _number("sec_25"), 1),
    Predictor("VIV", "viv", _number("viv"), 1),
    Predictor("low-pass gap", "lowpass_gap", _number("lowpass_gap"), 1),
    Predictor("PSNR after the strongest low-pass", "lowpass_3", _number("lowpass_3"), -1),
    Predictor("noise PSNR", "noise_psnr", _number("noise_psnr"), -1),
    Predictor("neighbour correlation", "neighbour_correlation", _number("neighbour_correlation"), 1),
    Predictor("equivariance error at half size", "equivariance_scale_50", _number("equivariance_scale_50"), 1),
    Predictor("interpolation FD", "interpolation_fid", _unmeasured, 1),
    Predictor("gap to a vision encoder", "affinity_gap", _unmeasured, 1),
    Predictor("linear probe", "probe_accuracy", _unmeasured, -1),
)
"""Those of experiments/PREREGISTERED.md of which anything is known, and two that need a vision encoder or labels."""


def by_method(trials: Sequence[Numbers]) -> list[list[Numbers]]:
    """Return the trials of each method with autoencoders of its own."""
    methods: dict[str, list[Numbers]] = {}
    seen: set[str] = set()
    for trial in trials:
        if trial["autoencoder_digest"] not in seen:
            methods.setdefault(trial["method"], []).append(trial)
            seen.add(trial["autoencoder_digest"])
    return list(methods.values())


def means(methods: Sequence[Sequence[Numbers]], predictor: Predictor) -> list[float] | None:
    """Return a number's mean over the seeds of each method; None where it was not measured."""
    values = [[predictor.value(trial) for trial in each] for each in methods]
    if any(value is None for each in values for value in each):
        return None
    return [mean(float(value) for value in each if value is not None) for each in values]


def across_methods(trials: Sequence[Numbers], predictor: Predictor) -> tuple[float, float] | None:
    """Return the rank correlations of a number with both distances over methods; None where it was not measured."""
    methods = by_method(trials)
    values = means(methods, predictor)
    if values is None:
        return None
    to_images, to_reconstructions = (
        [mean(trial["generation"]["scores"][outcome]["value"] for trial in each) for each in methods]
        for outcome in OUTCOMES
    )
    return rank_correlation(values, to_images), rank_correlation(values, to_reconstructions)


def chance(trials: Sequence[Numbers]) -> float:
    """Return the largest absolute correlation of all numbers that one of twenty shuffles of the methods exceeds."""
    methods = by_method(trials)
    known = [rankdata(values) for predictor in PREDICTORS if (values := means(methods, predictor)) is not None]
    n, generator = len(methods), seeded("which numbers")
    orders = [torch.randperm(n, generator=generator).double() for _ in range(SHUFFLES)]
    ranks, orders = (_unit(torch.stack([torch.as_tensor(row) for row in rows])) for rows in (known, orders))
    largest = (orders @ ranks.T).abs().amax(dim=1)
    return float(largest.sort().values[int(0.95 * SHUFFLES)])


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Return rows without their means and of length 1, so that products of them are correlations."""
    return torch.nn.functional.normalize(rows - rows.mean(dim=1, keepdim=True), dim=1)


def verdict(predictor: Predictor, known: Published | None) -> str:
    """Return how to read a number, from what public tokenizers say of it."""
    if known is None:
        return "untested across families: compare only within one latent shape"
    low, high = known.interval
    if low <= 0 <= high:
        return "not predictive across families: compare only within one latent shape"
    if (known.rho > 0) != (predictor.sign > 0):
        return "predicts the opposite of what is claimed across families"
    return "predictive across families"


IN_WORDS = {"psnr": Published(0.58, (0.18, 0.84), 21), "rfid": Published(-0.24, (-0.65, 0.25), 21)}
"""Of numbers whose record says the same in words, as they are no predictors."""


def published(key: str) -> Published | None:
    """Return what is known of a number over public tokenizers of many families."""
    if key in IN_WORDS:
        return IN_WORDS[key]
    return METRICS[key].across if key in METRICS else None


def table(comparison: Numbers) -> str:
    """Return what is known of each predictor, as Markdown; comparison: compare_cifar10.json."""
    lines = [
        "| number | claimed: as it rises, FID should | across families: ρ with FID | before and after one change "
        "| ours: ρ to images / to reconstructions | read it as |",
        "|---" * 6 + "|",
    ]
    for predictor in PREDICTORS:
        known, key = published(predictor.key), predictor.key
        across = "–"
        if known:
            across = f"{signed(known.rho)} [{signed(known.interval[0])}, {signed(known.interval[1])}], n = {known.n}"
        rule = lower_is_better(key)
        pairs = share(published_pairs(), rule)
        right = pairs.right if predictor.sign > 0 else pairs.decided - pairs.right
        changed = f"{right} of {pairs.decided}" if pairs.decided else "–"
        ours = across_methods(comparison["trials"], predictor)
        measured = " / ".join(map(signed, ours)) if ours else "–"
        direction = "rise" if predictor.sign > 0 else "fall"
        cells = (predictor.title, direction, across, changed, measured, verdict(predictor, known))
        lines.append(f"| {' | '.join(cells)} |")
    bound = f"{chance(comparison['trials']):.2f}"
    lines += [
        "",
        "Under random permutations of the methods, the largest absolute correlation in one of our columns exceeds "
        f"{bound} in 5 % of cases.",
    ]
    return "\n".join(lines)


def signed(value: float | None) -> str:
    """Return a correlation with two digits; None, of a constant, has none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def draw(comparison: Numbers) -> None:
    """Draw the correlations, each times its claimed sign, so that right of zero is as claimed."""
    style = {"svg.fonttype": "path", "svg.hashsalt": "numbers", "font.size": 9, "axes.spines.top": False}
    with mpl.rc_context({**style, "axes.spines.right": False}):
        figure = Figure(figsize=(7.6, 4.6), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for row, predictor in enumerate(reversed(PREDICTORS)):
            sign = predictor.sign
            if known := published(predictor.key):
                ends = sorted(sign * end for end in known.interval)
                axes.plot(ends, [row, row], color="#1d1f23", linewidth=1.4, zorder=2)
                axes.plot(sign * known.rho, row, "o", color="#1d1f23", markersize=6, zorder=3)
            if ours := across_methods(comparison["trials"], predictor):
                axes.plot(sign * ours[0], row + 0.18, "^", color="#c2452d", markersize=5)
                axes.plot(sign * ours[1], row - 0.18, "v", color="#1f6f8b", markersize=5)
        axes.axvline(0, color="#6b6f76", linewidth=0.8)
        axes.set_yticks(range(len(PREDICTORS)), [predictor.title for predictor in reversed(PREDICTORS)])
        axes.set_xlim(-1.05, 1.05)
        axes.set_xlabel("rank correlation with the Fréchet distance, times the claimed sign")
        for marker, colour, label in (
            ("o", "#1d1f23", "published tokenizers, 95 %"),
            ("^", "#c2452d", "ours, to images"),
            ("v", "#1f6f8b", "ours, to reconstructions"),
        ):
            axes.plot([], [], marker, color=colour, label=label)
        axes.legend(loc="lower left", frameon=False, fontsize=8, bbox_to_anchor=(0, 1), ncols=3)
        figure.savefig(DOCS / "which_numbers_to_trust.svg", metadata={"Date": None})


def main() -> None:
    """Write the table and the figure."""
    document = json.loads((RESULTS / "compare_cifar10.json").read_text())["comparison"]
    made = f"<!-- table: numbers -->\n\n{table(document)}\n\n<!-- end -->"
    page, n = re.subn(r"<!-- table: numbers -->.*?<!-- end -->", lambda _: made, PAGE.read_text(), flags=re.DOTALL)
    assert n == 1
    PAGE.write_text(page)
    draw(document)


if __name__ == "__main__":
    main()
