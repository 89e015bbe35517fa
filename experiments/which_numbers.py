"""Which numbers predict generation, on published tokenizers and on our own autoencoders?

    python experiments/which_numbers.py

Writes the table of docs/which_numbers_to_trust.md and its figure, docs/which_numbers_to_trust.svg, from what is known:
the records of the metrics (published tokenizers of many families), the atlas (published pairs before and after one
change), and the calibration (experiments/calibration.py). Run it again when one of them has changed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration import LEVEL, OUTCOMES
from calibration import PREDICTORS as CALIBRATED
from spectrum_matching.files.names import listed
from spectrum_matching.metrics.atlas.known_pairs import lower_is_better, published_pairs, share
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.metrics.metric import Published

HERE = Path(__file__).parent
RESULT, DOCS = HERE / "results" / "calibration_compare_calibration.json", HERE.parent / "docs"
PAGE = DOCS / "which_numbers_to_trust.md"
Numbers = Mapping[str, Any]

SIGNS = {key: (predictor.title, predictor.sign) for key, predictor in CALIBRATED.items()} | {
    "sec_50": ("SEC at 0.5", 1),
    "affinity_gap": ("gap to a vision encoder", 1),
    "probe_accuracy": ("linear probe", -1),
}
"""Title and claimed sign of its correlation with FID, of each metric of the calibration and of three that are known
from published tokenizers alone."""


def across(sign: int, known: Published | None) -> str:
    """Return whether a number predicts FID across families, from what public tokenizers say of it."""
    if known is None:
        return "untested"
    low, high = known.interval
    if low <= 0 <= high:
        return "not predictive"
    return "predictive" if (known.rho > 0) == (sign > 0) else "predicts the opposite"


def at_one_shape(key: str, calibration: Numbers) -> str:
    """Return whether a number predicts at one shape: by the preregistered rule, or against it with both intervals."""
    if key not in CALIBRATED:
        return "untested"
    if key in calibration["predicts"]:
        return "predictive" if len(calibration["seeds"]) > 1 else "passes so far"
    rows = [calibration["outcomes"][name]["predictors"][key] for name in OUTCOMES.values()]
    against = all(max(CALIBRATED[key].sign * end for end in row["interval"]) < 0 for row in rows)
    return "predicts the opposite" if against else "not shown"


IN_WORDS = {"psnr": Published(0.58, (0.18, 0.84), 21), "rfid": Published(-0.24, (-0.65, 0.25), 21)}
"""Of numbers whose record says the same in words, as they are no predictors."""
BOARDS = {"equivariance_scale_50": "scale_equivariance", "affinity_gap": "vf", "probe_accuracy": "probe_top1"}
"""The board's columns of numbers that it measures by a protocol of its own."""
BOARD_HAS_ANOTHER = {"sec_25"}
"""Metrics that the board has only by another definition, which has a row of its own: SEC at 0.5."""


def published(key: str) -> Published | None:
    """Return what is known of a number over public tokenizers of many families."""
    if key in IN_WORDS:
        return IN_WORDS[key]
    return METRICS[key].across if key in METRICS and key not in BOARD_HAS_ANOTHER else None


def table(calibration: Numbers) -> str:
    """Return what is known of each number, as Markdown; calibration: the document of experiments/calibration.py."""
    lines = [
        "| number | claimed: as it rises, FID should | public tokenizers: ρ with FID | before and after one change "
        "| ours: ρ to images / to reconstructions | ours, within a method: ρ to images / to reconstructions "
        "| ours: pairwise accuracy | across families | at one shape |",
        "|---" * 9 + "|",
    ]
    outcomes = [calibration["outcomes"][name]["predictors"] for name in OUTCOMES.values()]
    for key, (title, sign) in SIGNS.items():
        known = published(key)
        pairs = share(published_pairs(), lower_is_better(BOARDS.get(key, key)))
        right = pairs.right if sign > 0 else pairs.decided - pairs.right
        rows = [each[key] for each in outcomes if key in each]
        within = [row["within"]["rho"] for row in rows if row["within"]]
        cells = (
            title,
            "rise" if sign > 0 else "fall",
            f"{signed(known.rho)} [{signed(known.interval[0])}, {signed(known.interval[1])}], n = {known.n}"
            if known
            else "–",
            f"{right} of {pairs.decided}" if pairs.decided else "–",
            " / ".join(signed(row["rho"]) for row in rows) or "–",
            " / ".join(map(signed, within)) or "–",
            " / ".join(map(accuracy, rows)) or "–",
            across(sign, known),
            at_one_shape(key, calibration),
        )
        lines.append(f"| {' | '.join(cells)} |")
    bounds = " and ".join(f"{calibration['outcomes'][name]['chance']:.2f}" for name in OUTCOMES.values())
    lines += [
        "",
        f"{len(calibration['settings'])} settings of seed {listed(list(map(str, calibration['seeds'])))}. If the "
        "distances are permuted at random, the largest absolute correlation of all our numbers with those to images "
        f"and to reconstructions exceeds {bounds} in 5 % of cases.",
    ]
    return "\n".join(lines)


def accuracy(row: Numbers) -> str:
    """Return a pairwise accuracy, in bold beyond what chance gives the largest of all."""
    share = f"{100 * row['share']:.0f} %"
    return f"**{share}**" if row["p"] < LEVEL else share


def signed(value: float) -> str:
    """Return a correlation with two digits."""
    return f"{value:.2f}".replace("-", "−")


COLOURS = {"y1": "#c2452d", "y2": "#1f6f8b"}


def draw(calibration: Numbers) -> None:
    """Draw the correlations, each times its claimed sign, so that right of zero is as claimed."""
    style = {"svg.fonttype": "path", "svg.hashsalt": "numbers", "font.size": 9, "axes.spines.top": False}
    with mpl.rc_context({**style, "axes.spines.right": False}):
        figure = Figure(figsize=(9.6, 4.8), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 3, sharey=True)
        titles = ("public tokenizers", "ours, all settings", "ours, within a method")
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=9)
            axes.axvline(0, color="#6b6f76", linewidth=0.8)
            axes.set_xlim(-1.05, 1.05)
        for row, (key, (_, sign)) in enumerate(reversed(SIGNS.items())):
            if known := published(key):
                _mark(panels[0], row, sign, known.rho, known.interval, "#1d1f23")
            for (name, colour), off in zip(COLOURS.items(), (0.16, -0.16), strict=True):
                if found := calibration["outcomes"][name]["predictors"].get(key):
                    _mark(panels[1], row + off, sign, found["rho"], found["interval"], colour)
                    if inner := found["within"]:
                        _mark(panels[2], row + off, sign, inner["rho"], (inner["low"], inner["high"]), colour)
        panels[0].set_yticks(range(len(SIGNS)), [title for title, _ in reversed(SIGNS.values())])
        for name, label in (("y1", "distance to images"), ("y2", "distance to reconstructions")):
            panels[1].plot([], [], "o", color=COLOURS[name], label=label)
        panels[1].legend(loc="upper center", frameon=False, fontsize=8, bbox_to_anchor=(0.5, -0.12), ncols=2)
        figure.supxlabel("rank correlation with the Fréchet distance times the claimed sign, 95 %", fontsize=9)
        figure.savefig(DOCS / "which_numbers_to_trust.svg", metadata={"Date": None})


def _mark(axes: Axes, row: float, sign: int, rho: float, interval: tuple[float, float], colour: str) -> None:
    axes.plot([sign * end for end in interval], [row, row], color=colour, linewidth=1.2)
    axes.plot(sign * rho, row, "o", color=colour, markersize=4.5)


def main() -> None:
    """Write the table and the figure."""
    calibration = json.loads(RESULT.read_text())
    made = f"<!-- table: numbers -->\n\n{table(calibration)}\n\n<!-- end -->"
    page, n = re.subn(r"<!-- table: numbers -->.*?<!-- end -->", lambda _: made, PAGE.read_text(), flags=re.DOTALL)
    assert n == 1
    PAGE.write_text(page)
    draw(calibration)


if __name__ == "__main__":
    main()
