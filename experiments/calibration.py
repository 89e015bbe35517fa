"""Which numbers of an autoencoder predict generation, over settings of the methods at one shape and budget?

    specmatch compare cifar10 --config experiments/calibration.yaml --out runs/compare/calibration
    python experiments/save_results.py runs/compare/calibration/comparison.json compare_calibration
    python experiments/calibration.py compare_calibration

The analysis of "The calibration" in experiments/PREREGISTERED.md, for one budget of the denoiser; that of 800 updates
is run with experiments/budgets/800.yaml beside. Writes experiments/results/calibration_NAME.json, with --seeds 1
calibration_NAME_seeds_1.json, and prints its table.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from statistics import NormalDist, mean
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from spectrum_matching.metrics.ranks import FEWEST
from spectrum_matching.seeding import seeded

RESULTS = Path(__file__).parent / "results"
OUTCOMES = {"fid": "y1", "fid_reconstructions": "y2"}
DRAWS, SHUFFLES, LEVEL = 2000, 400, 0.05
LEAST_DOSES = 4
"""Settings of a method from which its own correlation is read: Fisher's z of fewer has no variance."""
Values = NDArray[np.float64]
Strata = Sequence[Sequence[int]]
Numbers = Mapping[str, Any]


def _number(key: str) -> Callable[[Numbers], float]:
    return lambda trial: float(trial["numbers"][key])


def _generated(key: str) -> Callable[[Numbers], float]:
    return lambda trial: float(trial["generative"]["measurements"][key]["value"])


class Predictor(NamedTuple):
    """A number, how its value in a trial is read, and the expected sign of its correlation with the distances."""

    title: str
    value: Callable[[Numbers], float]
    sign: int


PREDICTORS = {
    "psnr": Predictor("PSNR", _number("psnr"), -1),
    "rfid": Predictor("rFD", lambda trial: float(trial["reconstruction"]["scores"]["rfid"]["value"]), 1),
    "gap_scale_free_1": Predictor("gap at delta 1, scale-free", _number("gap_scale_free_1"), 1),
    "best_delta": Predictor(
        "distance of the best delta from 1", lambda trial: abs(float(trial["numbers"]["best_delta"]) - 1), 1
    ),
    "exponent": Predictor("exponent", _number("exponent"), 1),
    "sec_25": Predictor("SEC at 0.25", _number("sec_25"), 1),
    "viv_class": Predictor("VIV by class", _number("viv_class"), 1),
    "lowpass_gap": Predictor("low-pass gap", _number("lowpass_gap"), 1),
    "lowpass_3": Predictor("PSNR after the strongest low-pass", _number("lowpass_3"), -1),
    "noise_psnr": Predictor("noise PSNR", _number("noise_psnr"), -1),
    "neighbour_correlation": Predictor("neighbour correlation", _number("neighbour_correlation"), 1),
    "equivariance_scale_50": Predictor("equivariance error", _number("equivariance_scale_50"), 1),
    "interpolation_fid": Predictor(
        "interpolation FD, to reconstructions", _generated("interpolation_fid_reconstructions"), 1
    ),
    "gaussian_fid": Predictor(
        "Gaussian FD by class, to reconstructions", _generated("gaussian_fid_reconstructions"), 1
    ),
}
"""By the key of the metric in the catalogue."""
FORECASTS = {
    "white": "white noise",
    "stationary": "stationary Gaussian",
    "gaussian": "Gaussian by class",
    "solved": "solved denoiser",
    "interpolation": "interpolation",
}
"""Models that need no training (docs/forecast.md), by the start of their metrics' keys: each forecasts a distance of
the trained model's samples by the same distance of its own. Added after seed 0; no part of the rule for PREDICTORS."""
GIVEN = ("psnr", "rfid")
"""What partial correlations are given."""


class Settings(NamedTuple):
    """Of each setting: name, method, means of predictors and outcomes over seeds, outcomes by seed.

    forecasts: by outcome, those of FORECASTS.
    """

    names: list[str]
    methods: list[str]
    predictors: dict[str, Values]
    outcomes: dict[str, Values]
    by_seed: dict[str, Values]
    forecasts: dict[str, dict[str, Values]]


def methods_of(plan: str) -> dict[str, str]:
    """Return the method of each entry of a plan in YAML; the variants of ESM are two."""
    choices = {name: entry["method"] for name, entry in yaml.safe_load(plan)["entries"].items()}
    return {name: f"{choice['name']} {choice['variant'] or ''}".strip() for name, choice in choices.items()}


def whole_seeds(trials: Sequence[Numbers], names: Sequence[str]) -> list[int]:
    """Return the seeds at which every setting has finished."""
    finished = {(trial["method"], trial["seed"]) for trial in trials}
    return [seed for seed in sorted({seed for _, seed in finished}) if {(name, seed) for name in names} <= finished]


def read(trials: Sequence[Numbers], methods: Mapping[str, str], seeds: Sequence[int]) -> Settings:
    """Return the settings of a comparison at seeds that are whole; methods: that of each entry."""
    table = {(trial["method"], trial["seed"]): trial for trial in trials}
    names = list(methods)
    each = [[table[name, seed] for seed in seeds] for name in names]
    by_seed = {
        outcome: np.array([[t["generation"]["scores"][outcome]["value"] for t in of] for of in each])
        for outcome in OUTCOMES
    }

    def means(value: Callable[[Numbers], float]) -> Values:
        return np.array([mean(value(trial) for trial in of) for of in each])

    return Settings(
        names,
        [methods[name] for name in names],
        {key: means(p.value) for key, p in PREDICTORS.items()},
        {outcome: values.mean(axis=1) for outcome, values in by_seed.items()},
        by_seed,
        {outcome: {key: means(_generated(f"{key}_{outcome}")) for key in FORECASTS} for outcome in OUTCOMES},
    )


def rho(one: Values, other: Values) -> float:
    """Return Spearman's ρ, 0 for a constant."""
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def bca(statistic: Callable[[NDArray[np.int64]], float], strata: Strata, seed: str) -> list[float]:
    """Return the 95 % BCa interval of a statistic of item numbers, items drawn anew within each stratum.

    Source: Efron, "Better Bootstrap Confidence Intervals" (1987); its acceleration by leaving out one item at a time.
    """
    items = np.concatenate([np.asarray(stratum) for stratum in strata])
    observed, normal = statistic(items), NormalDist()
    generator = seeded("calibration", seed)

    def drawn() -> NDArray[np.int64]:
        picks = [torch.randint(len(stratum), (len(stratum),), generator=generator).numpy() for stratum in strata]
        return np.concatenate([np.asarray(stratum)[pick] for stratum, pick in zip(strata, picks, strict=True)])

    values = np.sort([statistic(drawn()) for _ in range(DRAWS)])
    below = (np.sum(values < observed) + 0.5 * np.sum(values == observed)) / DRAWS
    bias = normal.inv_cdf(min(max(float(below), 1 / DRAWS), 1 - 1 / DRAWS))
    left = np.array([statistic(np.delete(items, i)) for i in range(len(items))])
    off = left.mean() - left
    spread = float(np.sum(off**2)) ** 1.5
    acceleration = float(np.sum(off**3)) / (6 * spread) if spread else 0.0
    ends = []
    for share in (LEVEL / 2, 1 - LEVEL / 2):
        z = bias + normal.inv_cdf(share)
        ends.append(float(np.quantile(values, normal.cdf(bias + z / (1 - acceleration * z)))))
    return ends


def strata_of(methods: Sequence[str]) -> list[list[int]]:
    """Return the numbers of the settings of each method."""
    return [[i for i, method in enumerate(methods) if method == name] for name in dict.fromkeys(methods)]


def partial(one: Values, other: Values, given: Sequence[Values]) -> float:
    """Return the correlation of what a linear fit on the ranks of `given` leaves of the ranks of two numbers."""
    base = np.column_stack([np.ones(len(one)), *(rankdata(values) for values in given)])
    left = []
    for values in (one, other):
        ranks = rankdata(values)
        left.append(ranks - base @ np.linalg.lstsq(base, ranks, rcond=None)[0])
    scale = float(np.linalg.norm(left[0]) * np.linalg.norm(left[1]))
    return float(left[0] @ left[1]) / scale if scale > 1e-9 else 0.0


def within(one: Values, other: Values, strata: Strata) -> dict[str, float] | None:
    """Return ρ within methods of enough settings, pooled by Fisher's z with weights n − 3, with its 95 % ends.

    A perfect order of n settings is taken as (n² − 1)/n² of one, as its z has no end.
    """
    terms = []
    for items in strata:
        if (n := len(items)) >= LEAST_DOSES:
            most = (n * n - 1) / n**2
            terms.append((n - 3, math.atanh(min(max(rho(one[list(items)], other[list(items)]), -most), most))))
    if not terms:
        return None
    total = sum(weight for weight, _ in terms)
    z = sum(weight * value for weight, value in terms) / total
    half = NormalDist().inv_cdf(1 - LEVEL / 2) / math.sqrt(total)
    return {"rho": math.tanh(z), "low": math.tanh(z - half), "high": math.tanh(z + half)}


class Fold(NamedTuple):
    """The settings of two methods of a predictor x, and those that a fit is on.

    places: of each setting of the fit, the number of its value among those `known`. weights: how often each is there.
    """

    methods: tuple[int, int]
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    fit: NDArray[np.int64]
    known: Values
    places: NDArray[np.int64]
    weights: NDArray[np.int64]


def folds(x: Values, strata: Strata, *, of_both: bool) -> list[Fold]:
    """Return a fold for each two methods, fitted on neither; without `of_both` two, each fitted without its first."""
    found = []
    for i, j in (combinations if of_both else permutations)(range(len(strata)), 2):
        left = [*strata[i], *strata[j]] if of_both else strata[i]
        fit = np.setdiff1d(np.arange(len(x)), left)
        known, places, weights = np.unique(x[fit], return_inverse=True, return_counts=True)
        found.append(Fold((i, j), np.array(strata[i]), np.array(strata[j]), fit, known, places, weights))
    return found


def ordered(x: Values, y: Values, of: Sequence[Fold], methods: int) -> tuple[Values, Values]:
    """Return the pairs of settings that isotonic fits order correctly, and all, by (method, method).

    x: predictor times its expected sign. Settings that a fit holds equal count half.
    """
    right, counted = np.zeros((2, methods, methods))
    for fold in of:
        means = np.bincount(fold.places, y[fold.fit]) / fold.weights
        fit = isotonic_regression(means, weights=fold.weights).x
        fitted = np.subtract.outer(np.interp(x[fold.one], fold.known, fit), np.interp(x[fold.other], fold.known, fit))
        sides = np.sign(fitted) * np.sign(np.subtract.outer(y[fold.one], y[fold.other]))
        right[fold.methods], counted[fold.methods] = np.sum((1 + sides) / 2), sides.size
    return right, counted


def sign_of(key: str) -> int:
    """Return the expected sign of a predictor's correlation with a distance; a forecast's is 1."""
    return PREDICTORS[key].sign if key in PREDICTORS else 1


def shares(settings: Settings, outcome: str, *, of_both: bool = True) -> dict[str, dict[str, float | bool]]:
    """Return each predictor's pairwise accuracy, with what remains above rFD's, 95 % over methods drawn anew.

    of_both: fit on neither method of a pair. Without, as was written down first, on all but one, which methods drawn
    anew then stand for: an uninformative predictor then has more than one half, and intervals are too narrow.
    """
    strata, y = strata_of(settings.methods), settings.outcomes[outcome]
    signed = {key: sign_of(key) * x for key, x in settings.predictors.items()}
    found = {key: ordered(x, y, folds(x, strata, of_both=of_both), len(strata)) for key, x in signed.items()}
    generator = seeded("calibration", "shares", outcome)
    draws = torch.randint(len(strata), (DRAWS, len(strata)), generator=generator).numpy()
    times = np.stack([np.bincount(draw, minlength=len(strata)) for draw in draws])
    times = times[np.count_nonzero(times, axis=1) > 1]  # one method alone has no pairs

    def share(key: str, first: NDArray[np.int64]) -> Values:
        second = first if of_both else np.ones_like(first)
        right, counted = (np.einsum("ni,ij,nj->n", first, each, second) for each in found[key])
        return np.asarray(right / counted)

    once, rows = np.ones((1, len(strata)), dtype=np.int64), {}
    for key in found:
        drawn, above = share(key, times), share(key, times) - share("rfid", times)
        low, high = np.quantile(drawn, (LEVEL / 2, 1 - LEVEL / 2))
        above_low, above_high = np.quantile(above, (LEVEL / 2, 1 - LEVEL / 2))
        rows[key] = {
            "share": float(share(key, once)[0]),
            "low": float(low),
            "high": float(high),
            "above_rfid": float(share(key, once)[0] - share("rfid", once)[0]),
            "above_low": float(above_low),
            "above_high": float(above_high),
            "exceeds": bool(low > 0.5 and above_low > 0),
        }
    return rows


def largest_shares(settings: Settings, outcome: str) -> Values:
    """Return the largest pairwise accuracy of all predictors for each of SHUFFLES orders of the outcome."""
    strata, y = strata_of(settings.methods), settings.outcomes[outcome]
    signed = [sign_of(key) * x for key, x in settings.predictors.items()]
    prepared = [(x, folds(x, strata, of_both=True)) for x in signed]
    generator = seeded("calibration", "largest share", outcome)

    def share(x: Values, of: Sequence[Fold], values: Values) -> float:
        right, counted = ordered(x, values, of, len(strata))
        return float(right.sum() / counted.sum())

    orders = [torch.randperm(len(y), generator=generator).numpy() for _ in range(SHUFFLES)]
    return np.array([max(share(x, of, y[order]) for x, of in prepared) for order in orders])


def chance(settings: Settings, outcome: str) -> float:
    """Return the largest |ρ| of all predictors that one of twenty shuffles of the outcome exceeds."""
    generator, y = seeded("calibration", "chance", outcome), settings.outcomes[outcome]
    orders = [torch.randperm(len(y), generator=generator).numpy() for _ in range(DRAWS)]
    largest = [max(abs(rho(x, y[order])) for x in settings.predictors.values()) for order in orders]
    return float(np.quantile(largest, 1 - LEVEL))


def described(settings: Settings, outcome: str) -> dict[str, dict[str, Any]]:
    """Return how each predictor of the settings goes with an outcome."""
    strata, y = strata_of(settings.methods), settings.outcomes[outcome]
    ordering, rows = shares(settings, outcome), {}
    registered, largest = shares(settings, outcome, of_both=False), largest_shares(settings, outcome)
    groups = [y[items].mean() for items in strata]
    for key, x in settings.predictors.items():
        given = [settings.predictors[other] for other in GIVEN if other != key]
        p = (1 + np.count_nonzero(largest >= ordering[key]["share"])) / (1 + len(largest))
        rows[key] = {
            "rho": rho(x, y),
            "interval": bca(lambda items, x=x: rho(x[items], y[items]), strata, f"{outcome} {key}"),
            "partial": partial(x, y, given),
            "within": within(x, y, strata),
            "between": rho(np.array([x[items].mean() for items in strata]), np.array(groups)),
            **ordering[key],
            "p": float(p),
            "exceeds": bool(ordering[key]["exceeds"] and p < LEVEL),
            "registered": registered[key],
            "as_written": bool(rho(x, y) * sign_of(key) > 0),
        }
    return rows


def analysed(settings: Settings) -> dict[str, Any]:
    """Return the whole analysis of one budget."""
    document: dict[str, Any] = {"settings": settings.names, "outcomes": {}}
    for outcome, name in OUTCOMES.items():
        seeds = settings.by_seed[outcome]
        beside = {key: settings.predictors[key] for key in GIVEN} | settings.forecasts[outcome]
        forecasts = described(settings._replace(predictors=beside), outcome)
        document["outcomes"][name] = {
            "ceiling": rho(seeds[:, 0], seeds[:, 1]) if seeds.shape[1] > 1 else None,
            "chance": chance(settings, outcome),
            "predictors": described(settings, outcome),
            "forecasts": {key: forecasts[key] for key in FORECASTS},
        }
    rows = [each["predictors"] for each in document["outcomes"].values()]
    predicts = [key for key in PREDICTORS if all(row[key]["exceeds"] for row in rows)]
    registered = [key for key in PREDICTORS if all(row[key]["registered"]["exceeds"] for row in rows)]
    return document | {"predicts": predicts, "predicts_as_registered": registered}


def table(document: Mapping[str, Any]) -> str:
    """Return the table of an analysis in Markdown."""
    lines = [
        "| number | expected sign | ρ with y1 | ρ with y2 | within methods, y1 / y2 | given PSNR and rFD, y1 / y2 "
        "| pairwise accuracy, y1 / y2 |",
        "|---" * 7 + "|",
    ]
    y1, y2 = (each["predictors"] | each["forecasts"] for each in document["outcomes"].values())
    titles = {key: predictor.title for key, predictor in PREDICTORS.items()}
    titles |= {key: f"{title}, matched distance" for key, title in FORECASTS.items()}
    for key, title in titles.items():
        one, two = y1[key], y2[key]
        inner = " / ".join(f"{each['within']['rho']:.2f}" if each["within"] else "–" for each in (one, two))
        cells = (
            "+" if sign_of(key) > 0 else "−",
            *(f"{each['rho']:.2f} ({each['interval'][0]:.2f} … {each['interval'][1]:.2f})" for each in (one, two)),
            inner,
            f"{one['partial']:.2f} / {two['partial']:.2f}",
            " / ".join(f"{each['share']:.2f}, p = {each['p']:.2g}" for each in (one, two)),
        )
        lines.append(f"| {title} | {' | '.join(cells).replace('-', '−')} |")
    return "\n".join(lines)


def main() -> None:
    """Read, analyse, save, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", help="name of a file in experiments/results, without .json")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="those to take; by default those at which every setting has finished"
    )
    arguments = parser.parse_args()
    comparison = json.loads((RESULTS / f"{arguments.result}.json").read_text())["comparison"]
    trials, methods = comparison["trials"], methods_of(comparison["plan"])
    whole = whole_seeds(trials, list(methods))
    seeds = sorted(arguments.seeds or whole)
    finished = {(trial["method"], trial["seed"]) for trial in trials}
    if missing := [f"{name}, seed {seed}" for seed in seeds for name in methods if (name, seed) not in finished]:
        parser.error(f"{arguments.result} lacks {len(missing)} trials: {'; '.join(missing)}")
    if not seeds:
        parser.error(f"no seed of {arguments.result} is whole; name seeds by --seeds to see what each lacks")
    if len(methods) < FEWEST:
        parser.error(f"{arguments.result} has {len(methods)} settings; the analysis takes {FEWEST}")
    name = "_".join(["calibration", arguments.result, *(["seeds", *map(str, seeds)] if arguments.seeds else [])])
    document = {"question": name, "seeds": seeds} | analysed(read(trials, methods, seeds))
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))
    print("predicts:", ", ".join(document["predicts"]) or "none")


if __name__ == "__main__":
    main()
