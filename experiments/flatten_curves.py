"""How far do samples lie from images and reconstructions at each dose of the gain, by autoencoder and by budget?

    python experiments/flatten_curves.py

"The dose that `analyze` names" and "Budgets" of experiments/PREREGISTERED.md, "Flattened latents", from the comparisons
compare_flatten*.json of experiments/results. Descriptive. Writes flatten_curves.json there, prints its table, and draws
docs/flatten.svg.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

HERE = Path(__file__).parent
RESULTS, FIGURE = HERE / "results", HERE.parent / "docs" / "flatten.svg"
COMPARISONS = {625: "compare_flatten_625", 2500: "compare_flatten", 10000: "compare_flatten_10000"}
"""By the denoiser's updates."""
AUTOENCODERS = ("autoencoder", "DSM", "EQ-VAE")
DOSES = {-0.5: ", D minus 0.5", 0.0: "", 0.5: ", D 0.5", 1.0: ", D 1", 1.5: ", D 1.5", 2.0: ", D 2"}
COLOURS = ("#1d1f23", "#c2452d", "#1f6f8b")
OUTCOMES = {"fid": "y1", "fid_reconstructions": "y2"}


def curve(trials: Sequence[Mapping[str, Any]], autoencoder: str, updates: int) -> dict[str, Any] | None:
    """Return both outcomes by dose and seed, on the seeds that have all the doses; None without a dose.

    best: the dose of the lowest mean y2; named: 1 − best delta, which `analyze` names, rounded to 0.25.
    """
    found = {(trial["method"], trial["seed"]): trial for trial in trials}
    doses = [dose for dose, name in DOSES.items() if any(entry == autoencoder + name for entry, _ in found)]
    rows = [autoencoder + DOSES[dose] for dose in doses]
    seeds = sorted({seed for _, seed in found if all((row, seed) in found for row in rows)})
    if len(doses) < 2 or not seeds:
        return None
    outcomes = {
        name: [[found[row, seed]["generation"]["scores"][key]["value"] for seed in seeds] for row in rows]
        for key, name in OUTCOMES.items()
    }
    delta, exponent = (mean(found[autoencoder, s]["numbers"][key] for s in seeds) for key in ("best_delta", "exponent"))
    return {
        "autoencoder": autoencoder,
        "updates": updates,
        "exponent": exponent,
        "seeds": seeds,
        "doses": doses,
        **outcomes,
        "best": min(zip(doses, outcomes["y2"], strict=True), key=lambda each: mean(each[1]))[0],
        "named": round((1 - delta) * 4) / 4,
    }


def number(value: float) -> str:
    """Return a dose as it is written."""
    return f"{value:g}".replace("-", "−")


def table(document: Mapping[str, Any]) -> str:
    """Return means of y1 / y2 by dose, in Markdown."""
    heads = [f"D {number(dose)}" for dose in DOSES]
    lines = [
        f"| autoencoder | exponent | updates | seeds | {' | '.join(heads)} | D named | D of lowest y2 |",
        "|---" * (6 + len(DOSES)) + "|",
    ]
    for row in document["rows"]:
        pairs = zip(row["doses"], row["y1"], row["y2"], strict=True)
        cells = {dose: f"{mean(y1):.1f} / {mean(y2):.2f}" for dose, y1, y2 in pairs}
        first = (row["autoencoder"], f"{row['exponent']:.1f}", f"{row['updates']:,}", str(len(row["seeds"])))
        named = row["named"], row["best"]
        lines.append(f"| {' | '.join((*first, *(cells.get(dose, '') for dose in DOSES), *map(number, named)))} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw y2 at each dose over that without a gain: by autoencoder, and by budget on the seeds that all have."""
    by_autoencoder = [row for row in rows if row["updates"] == 2500]
    by_budget = [row for row in rows if row["autoencoder"] == "autoencoder"]
    shared = set.intersection(*(set(row["seeds"]) for row in by_budget))
    style = {"svg.fonttype": "path", "svg.hashsalt": "flatten", "font.size": 9}
    with mpl.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.6, 3.2), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        panels = (
            (left, "by autoencoder, 2,500 updates", by_autoencoder, [row["autoencoder"] for row in by_autoencoder]),
            (
                right,
                "autoencoder, by updates of the denoiser",
                by_budget,
                [f"{row['updates']:,} updates" for row in by_budget],
            ),
        )
        for axes, title, chosen, labels in panels:
            for colour, row, label in zip(COLOURS, chosen, labels, strict=False):
                seeds = [k for k, seed in enumerate(row["seeds"]) if axes is left or seed in shared]
                y2 = [[each[k] for k in seeds] for each in row["y2"]]
                plain = y2[row["doses"].index(0)]
                ratios = [[y / base for y, base in zip(each, plain, strict=True)] for each in y2]
                for ratio in zip(*ratios, strict=True):
                    axes.plot(row["doses"], ratio, color=colour, linewidth=0.5, alpha=0.5)
                axes.plot(row["doses"], [mean(each) for each in ratios], "o-", color=colour, label=label)
            axes.axhline(1, color="#6b6f76", linewidth=0.8)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("D, exponent of the gain on the power")
            axes.set_xticks(list(DOSES))
            axes.legend(frameon=False, fontsize=8)
        left.set_ylabel("y2 over that at D = 0")
        figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    """Read, save, print, draw."""
    rows = []
    for autoencoder in AUTOENCODERS:
        for updates, name in COMPARISONS.items():
            path = RESULTS / f"{name}.json"
            trials = json.loads(path.read_text())["comparison"]["trials"] if path.exists() else []
            if row := curve(trials, autoencoder, updates):
                rows.append(row)
    document = {"question": "flatten_curves", "rows": rows}
    (RESULTS / "flatten_curves.json").write_text(json.dumps(document, indent=1) + "\n")
    print(table(document))
    draw(rows)


if __name__ == "__main__":
    main()
