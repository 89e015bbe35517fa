"""Which rows of a comparison differ from their control, seed by seed?

    python experiments/paired_differences.py flatten compare_flatten
    python experiments/paired_differences.py flatten_more compare_flatten_more
    python experiments/paired_differences.py flatten_625 compare_flatten_625
    python experiments/paired_differences.py flatten_10000 compare_flatten_10000
    python experiments/paired_differences.py flatten_eq_vae compare_flatten
    python experiments/paired_differences.py centring compare_flatten_more compare_centring
    python experiments/paired_differences.py flatten_controls compare_flatten flatten_controls
    python experiments/paired_differences.py controls_uncentred compare_flatten_uncentred flatten_controls_uncentred
    python experiments/paired_differences.py loss_weights compare_flatten_more flatten_controls
    python experiments/paired_differences.py flatten_halves compare_flatten flatten_controls
    python experiments/paired_differences.py flatten_retraining compare_flatten_uncentred
    python experiments/paired_differences.py flatten_forms compare_flatten_forms
    python experiments/paired_differences.py repa compare_repa compare_repa_shufflenet
    python experiments/paired_differences.py delta compare_delta

The paired tests of experiments/PREREGISTERED.md: the mean over seeds of a row's score less its control's, with its 95 %
t interval, and p by Holm's correction over the tests of a family. Several results of experiments/results are read as
one. Writes experiments/results/paired_NAME.json and prints its tables.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from scipy.stats import ttest_1samp

from spectrum_matching.files.stages import slug
from spectrum_matching.metrics.pooled import FAMILY_WISE, holm

RESULTS = Path(__file__).parent / "results"
NAMES = {"fid": "y1", "fid_reconstructions": "y2", "kid": "y3"}
Scores = Mapping[tuple[str, int], Mapping[str, float]]
"""Scores by key of each entry and seed."""


class Family(NamedTuple):
    """Tests whose p values are corrected together; of one autoencoder, or of several."""

    control: str
    rows: tuple[str, ...]
    outcomes: tuple[str, ...]
    is_of_one: bool = True


DOSES = ("D minus 0.5", "D 0.5", "D 1", "D 1.5")
FORMS = ("whiten 0.5", "whiten 1", "whiten 0.5 by coefficient and channel", "whiten 0.5, decorrelated")
ABLATIONS = ("permuted rings", "gain by channel", "coloured noise", "loss weights")
TARGETS = ("gamma 0.25", "gamma 0.5", "gamma 0.75", "gamma 1", "DoG 0.5 and 1.6", "DoG 0.5 and 3", "DoG 0 and 1.6")
FAMILIES = {
    "flatten": [
        Family(control, tuple(f"{control}, {dose}" for dose in DOSES), (outcome,))
        for control in ("autoencoder", "DSM")
        for outcome in NAMES
    ],
    "flatten_more": [
        Family(control, tuple(f"{control}, {dose}" for dose in ("D 0.5", "D 1")), (outcome,))
        for control in ("autoencoder", "DSM")
        for outcome in NAMES
    ],
    **{
        name: [Family("autoencoder", ("autoencoder, D minus 0.5", "autoencoder, D 1"), (outcome,)) for outcome in NAMES]
        for name in ("flatten_625", "flatten_10000")
    },
    "flatten_eq_vae": [
        Family("EQ-VAE", ("EQ-VAE, D 0.5", "EQ-VAE, D 1", "EQ-VAE, D 1.5", "EQ-VAE, D 2"), (outcome,))
        for outcome in NAMES
    ],
    "centring": [
        Family(f"{name}, one mean", (name,), (outcome,)) for name in ("autoencoder", "DSM") for outcome in NAMES
    ],
    **{
        name: [Family("autoencoder", ABLATIONS, (outcome,)) for outcome in NAMES]
        for name in ("flatten_controls", "controls_uncentred")
    },
    "loss_weights": [Family("autoencoder", ("loss weights",), (outcome,)) for outcome in NAMES],
    "flatten_halves": [Family("loss weights", ("autoencoder, D 1",), (outcome,)) for outcome in NAMES],
    "flatten_retraining": [
        Family(control, (row,), (outcome,), is_of_one=False)
        for control, row in (("autoencoder, D 0.75", "ESM"), ("DSM, D 1", "ESM + DSM"))
        for outcome in NAMES
    ],
    "flatten_forms": [Family("autoencoder, D 1", FORMS, (outcome,)) for outcome in NAMES],
    "delta": [
        Family("autoencoder", ("ESM, delta 0.4", "ESM, delta 1"), ("fid", "fid_reconstructions"), is_of_one=False)
    ],
    "repa": [
        Family(f"REPA, {encoder}", tuple(f"{target}, {encoder}" for target in TARGETS), (outcome,))
        for encoder in ("gradients", "shufflenet")
        for outcome in ("fid", "kid")
    ],
}
"""Of each experiment, as it was written down."""
READ = ("flatten", "flatten_more", "flatten_retraining", "centring", "loss_weights")
"""Experiments whose readings were written down."""


class Paired(NamedTuple):
    """One test: mean difference over n seeds, the ends of its 95 % interval, p corrected within the family."""

    row: str
    control: str
    outcome: str
    n: int
    mean: float
    low: float
    high: float
    p: float

    @property
    def word(self) -> str:
        """Return whether the row is lower or higher, at a family-wise error of 5 %."""
        if self.p >= FAMILY_WISE:
            return "undecided"
        return "lower" if self.mean < 0 else "higher"


def tested(family: Family, scores: Scores) -> list[Paired]:
    """Return the tests of a family on the seeds that row and control share; rows of fewer than two are left out.

    p is corrected for all tests of the family, those that are left out as well.
    """
    found = []
    for row in family.rows:
        seeds = sorted({seed for entry, seed in scores if entry == row and (family.control, seed) in scores})
        if len(seeds) < 2:
            continue
        for outcome in family.outcomes:
            changes = [scores[row, seed][outcome] - scores[family.control, seed][outcome] for seed in seeds]
            test = ttest_1samp(changes, 0.0)
            low, high = map(float, test.confidence_interval(0.95))
            change, p = mean(changes), float(test.pvalue)
            found.append(Paired(row, family.control, outcome, len(seeds), change, low, high, p))
    missing = len(family.rows) * len(family.outcomes) - len(found)
    corrected = holm([each.p for each in found] + missing * [1.0])
    return [each._replace(p=p) for each, p in zip(found, corrected, strict=False)]


def reading(tests: Sequence[Paired], rows: Sequence[str]) -> str:
    """Return "helps" if y1 and y2 of one of the rows are both lower, "hurts" if both are higher, else "undecided"."""
    words = {(each.row, each.outcome): each.word for each in tests}
    both = {row: {words.get((row, outcome)) for outcome in ("fid", "fid_reconstructions")} for row in rows}
    for word, name in (("lower", "helps"), ("higher", "hurts")):
        if {word} in both.values():
            return name
    return "undecided"


def becomes_default(tests: Sequence[Paired]) -> bool:
    """Return whether centring is lower in y1 and y2 on `autoencoder`, and higher in neither on DSM."""
    words = {(each.row, each.outcome): each.word for each in tests}
    main = ("fid", "fid_reconstructions")
    helps = all(words.get(("autoencoder", key)) == "lower" for key in main)
    return helps and all(words.get(("DSM", key)) in ("lower", "undecided") for key in main)


def best_is_inside(control: str, scores: Scores) -> bool | None:
    """Return whether y2 at both ends of the doses lies above the best of those between by more than a standard error.

    The error is that of the paired difference. None where fewer than two seeds have all doses.
    """
    rows = {dose: f"{control}, {dose}" for dose in DOSES} | {"D 0": control}
    seeds = [seed for entry, seed in scores if entry == control and all((row, seed) in scores for row in rows.values())]
    if len(seeds) < 2:
        return None
    y2 = {dose: [scores[row, seed]["fid_reconstructions"] for seed in seeds] for dose, row in rows.items()}
    best = min((y2[dose] for dose in ("D 0", "D 0.5", "D 1")), key=mean)
    ends = [[end - least for end, least in zip(y2[dose], best, strict=True)] for dose in ("D minus 0.5", "D 1.5")]
    return all(mean(changes) > stdev(changes) / len(seeds) ** 0.5 for changes in ends)


def carriers(tests: Sequence[Paired], scores: Scores) -> list[str]:
    """Return the controls whose interval of y2 lies below 0 and holds the mean change at dose 1, on their own seeds."""
    found = []
    for each in tests:
        if each.outcome != "fid_reconstructions" or each.row not in ("coloured noise", "loss weights"):
            continue
        seeds = [seed for entry, seed in scores if entry == each.row and (f"{each.control}, D 1", seed) in scores]
        y2 = {row: [scores[row, s][each.outcome] for s in seeds] for row in (each.control, f"{each.control}, D 1")}
        change = mean(y2[f"{each.control}, D 1"]) - mean(y2[each.control]) if seeds else float("nan")
        if each.high < 0 and each.low <= change <= each.high:
            found.append(each.row)
    return found


def read_scores(paths: Sequence[Path]) -> tuple[dict[tuple[str, int], dict[str, float]], dict[tuple[str, int], str]]:
    """Return the scores of every finished trial in comparisons and of flatten_controls.py, and their autoencoders.

    Raises:
        ValueError: where two files have the same trial.
    """
    scores, autoencoders = {}, {}
    for path in paths:
        document = json.loads(path.read_text())
        rows = [((row["control"], row["seed"]), row["scores"], row["autoencoder"]) for row in document.get("rows", [])]
        for trial in document.get("comparison", {}).get("trials", []):
            values = {key: measured["value"] for key, measured in trial["generation"]["scores"].items()}
            rows.append(((trial["method"], trial["seed"]), values, trial["autoencoder_digest"]))
        for key, values, autoencoder in rows:
            if key in scores:
                raise ValueError(f"{path.name} has {key[0]}, seed {key[1]}, which a file before it has too")
            scores[key], autoencoders[key] = values, autoencoder
    return scores, autoencoders


def require_pairs(family: Family, autoencoders: Mapping[tuple[str, int], str]) -> None:
    """Raise a ValueError where a row and its control, which should share an autoencoder, do not."""
    for (entry, seed), autoencoder in autoencoders.items():
        control = autoencoders.get((family.control, seed), autoencoder)
        if family.is_of_one and entry in family.rows and autoencoder != control:
            raise ValueError(f"{entry}, seed {seed}, is of autoencoder {autoencoder}, {family.control} of {control}")


def table(document: Mapping[str, Any]) -> str:
    """Return the table of an experiment in Markdown, a line for each row; what is decided is set in bold."""
    outcomes = list(dict.fromkeys(name for tests in document["tests"].values() for name in tests))
    lines = [f"| row | minus | seeds | {' | '.join(outcomes)} |", "|---" * (3 + len(outcomes)) + "|"]
    for tests in document["tests"].values():
        row, control, n = (next(iter(tests.values()))[key] for key in ("row", "control", "n"))
        cells = []
        for each in (tests[name] for name in outcomes):
            cell = f"{each['mean']:.2g} ({each['low']:.2g} … {each['high']:.2g}), p = {each['p']:.2g}"
            cells.append(cell if each["word"] == "undecided" else f"**{each['word']}**: {cell}")
        line = f"| {' | '.join(map(str, (row, control, n, *cells)))} |"
        lines.append(line.replace("minus ", "−").replace(" -", " −").replace("(-", "(−"))
    return "\n".join(lines)


def main() -> None:
    """Read, test, save, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FAMILIES)
    parser.add_argument("results", nargs="+", help="names of files in experiments/results, without .json")
    arguments = parser.parse_args()
    paths = [RESULTS / f"{name}.json" for name in arguments.results]
    if missing := [path.name for path in paths if not path.exists()]:
        parser.error(f"experiments/results has no {', '.join(missing)}")
    scores, autoencoders = read_scores(paths)
    for family in FAMILIES[arguments.name]:
        require_pairs(family, autoencoders)
    tests = [each for family in FAMILIES[arguments.name] for each in tested(family, scores)]
    document: dict[str, Any] = {"question": f"paired_{arguments.name}", "tests": {}}
    for each in tests:
        document["tests"].setdefault(slug(each.row), {})[NAMES[each.outcome]] = {**each._asdict(), "word": each.word}
    controls = {family.control: family.rows for family in FAMILIES[arguments.name]}
    if arguments.name == "flatten":  # only the doses of which the hypothesis says that they help
        controls = {control: tuple(f"{control}, {dose}" for dose in ("D 0.5", "D 1")) for control in controls}
        document["best_is_inside"] = {control: best_is_inside(control, scores) for control in controls}
    if arguments.name in READ:
        document["readings"] = {control: reading(tests, rows) for control, rows in controls.items()}
    if arguments.name == "centring":
        document["becomes_default"] = becomes_default(tests)
    if arguments.name == "flatten_controls":
        document["carriers"] = carriers(tests, scores)
    (RESULTS / f"paired_{arguments.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))
    print("\n".join(f"{control}: {word}" for control, word in document.get("readings", {}).items()))


if __name__ == "__main__":
    main()
