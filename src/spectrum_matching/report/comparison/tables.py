"""Tables of a comparison: methods by mean and spread over seeds, pair by pair, seed by seed, and their costs."""

import math
import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from ...metrics.pooled import FAMILY_WISE
from ...records.comparison import Comparison
from ..analysis.metric_rows import DIRECTIONS
from ..digits import at_end, bound, decimals, fixed, number
from ..table import MISSING, Cell, Column, Mark, Table, distinct, markdown
from .quantities import BETTER, UNDECIDED, WORSE, Quantity, Source, against_control, headline, main_quantities, pairwise


class PairRow(NamedTuple):
    """One method compared with each: its index, its score, and how many it is better than, worse than, undecided.

    outcomes: against each method in the order of the rows; None against itself or with a single seed.
    """

    method: int
    cell: Cell
    counts: tuple[int, int, int]
    outcomes: tuple[Mark | None, ...]


class Pairs(NamedTuple):
    """Methods by their mean of one score, best first, pair by pair.

    n_decided: pairs that differ, of n_pairs that can be compared.
    """

    quantity: Quantity
    rows: tuple[PairRow, ...]
    n_decided: int
    n_pairs: int


GROUPS: dict[Source, str] = {
    "generation": "generated",
    "generative": "without training",
    "reconstruction": "decoded",
    "autoencoder": "autoencoder",
}


def score_table(comparison: Comparison, quantities: Sequence[Quantity], *, full_titles: bool = False) -> Table:
    """Return a row for each method: means over seeds, ± half their range, marks against the control, seeds as hints."""
    sources = [quantity.source for quantity in quantities]
    columns = []
    for index, quantity in enumerate(quantities):
        source, metric, title = quantity
        heading, better = metric.title if full_titles else title, DIRECTIONS[quantity.better]
        group = GROUPS[source] if sources.index(source) == index else ""
        columns.append(Column(heading, metric.unit, one_sided=metric.one_sided, better=better, group=group))
    cells = [_column(comparison, quantity) for quantity in quantities]
    rows = (tuple(column[row] for column in cells) for row in range(len(comparison.methods)))
    return Table(tuple(columns), tuple(enumerate(rows)))


def pairs(comparison: Comparison) -> Pairs | None:
    """Compare all methods pair by pair by the headline score; None without one."""
    quantity = headline(comparison)
    if quantity is None:
        return None
    all_spreads = (quantity.spread(comparison, method) for method in comparison.methods)
    spreads = {index: spread for index, spread in enumerate(all_spreads) if spread}
    ranked = sorted(spreads, key=lambda i: spreads[i].mean, reverse=quantity.better != "lower")
    found = pairwise(comparison, quantity, combinations(ranked, 2))
    both = found | {(j, i): each._replace(mean=-each.mean) for (i, j), each in found.items()}
    cells, rows = _column(comparison, quantity), []
    for i in ranked:
        marks = tuple(quantity.mark(both[i, j]) if (i, j) in both else None for j in ranked)
        rows.append(PairRow(i, cells[i], (marks.count(BETTER), marks.count(WORSE), marks.count(UNDECIDED)), marks))
    n_decided = sum(each.word != "undecided" for each in found.values())
    return Pairs(quantity, tuple(rows), n_decided, n_pairs=len(found))


def seed_table(comparison: Comparison, quantities: Sequence[Quantity]) -> Table:
    """Return a row for every trial; beside each score half its interval of 95 % over images, if it has one."""
    columns = (Column("seed", is_text=True), *(Column(each.title, each.metric.unit) for each in quantities))
    precision = [_decimals(comparison, quantity) for quantity in quantities]
    rows = []
    for index, method in enumerate(comparison.methods):
        for trial in comparison.of(method):
            cells = [Cell(str(trial.seed))]
            for quantity, n in zip(quantities, precision, strict=True):
                value, score = quantity.of(trial), quantity.score(trial)
                half = score.half_width if score else None
                spread = "" if half is None else f"± {_format(half, n)}"
                cells.append(MISSING if value is None else Cell(_mean(quantity, [value], n), spread, value))
            rows.append((index, tuple(cells)))
    return Table(columns, tuple(rows))


def cost_table(comparison: Comparison) -> Table:
    """Return the seconds of each stage, mean over seeds."""
    stages = distinct(stage for trial in comparison.trials for stage in trial.seconds)
    columns = (*(Column(stage, "s") for stage in stages), Column("all", "s"))
    rows = []
    for index, method in enumerate(comparison.methods):
        trials = comparison.of(method)
        seconds = [[trial.seconds[stage] for trial in trials if stage in trial.seconds] for stage in stages]
        seconds.append([sum(trial.seconds.values()) for trial in trials])
        means = [statistics.mean(each) if each else None for each in seconds]
        cells = (MISSING if v is None else Cell(fixed(v, 0 if v >= 10 else 1), "", v) for v in means)
        rows.append((index, tuple(cells)))
    return Table(columns, tuple(rows))


def comparison_markdown(comparison: Comparison) -> str:
    """Return the main tables as Markdown, with their legend: scores of images, then numbers of latents and decoder.

    The numbers of an autoencoder that all rows share are left out.
    """
    quantities, shared = main_quantities(comparison), ""
    generated = [quantity for quantity in quantities if quantity.source == "generation"]
    if generated and comparison.is_paired:
        quantities = generated
        shared = " All rows of a seed share one autoencoder, whose own numbers are left out."
    names = [
        f"{method} ({part})" if (part := part_of_seeds(comparison, method)) else method for method in comparison.methods
    ]
    parts = [[each for each in quantities if each.scores_images is of_images] for of_images in (True, False)]
    tables = [markdown(score_table(comparison, part), names, "method") for part in parts if part]
    return "\n\n".join([*tables, f"{legend(comparison)}{shared}\n"])


def part_of_seeds(comparison: Comparison, method: str) -> str:
    """Return "2 of 4 seeds" where a method has no trial of some, else ""."""
    n, n_all = len(comparison.of(method)), len({trial.seed for trial in comparison.trials})
    return f"{n} of {n_all} seeds" if n < n_all else ""


def asides(comparison: Comparison) -> dict[str, str]:
    """Return what a table says below the name of a method."""
    return {
        method: ", ".join(
            filter(None, ("the control" * (method == comparison.control), part_of_seeds(comparison, method)))
        )
        for method in comparison.methods
    }


def legend(comparison: Comparison) -> str:
    """Return what ± and the marks mean, and how often chance makes one."""
    if max(len(comparison.of(method)) for method in comparison.methods) < 2:
        return "One seed each: there is no spread, and no difference between methods can be told from chance."
    text = "Mean over seeds ± half their range; ↑ higher is better, ↓ lower is better."
    n_control = len(comparison.of(comparison.control))
    others = sorted({len(comparison.of(m)) for m in comparison.methods if m != comparison.control} - {1})
    if n_control < 2 or not others:
        return text
    test, assumed = tests(comparison)
    return (
        f"{text} Compared with {the_control(comparison)}: ▲ better, ▼ worse (△ higher, ▽ lower where neither is "
        f"known to be better), = undecided. Marks are by {test}, Holm-corrected over the methods of a column: if none "
        f"differs from the control, and {assumed}, the probability of any mark in a column is at most "
        f"{FAMILY_WISE:.0%}."
    )


def tests(comparison: Comparison) -> tuple[str, str]:
    """Return by which tests methods are compared, and what these assume."""
    if comparison.is_paired:
        name = "t tests paired by seed, since all methods of a seed share its autoencoder, with the variance"
        return f"{name} pooled over all methods", "all differences between methods vary alike over seeds"
    assumed = "all vary alike over seeds"
    if len({(trial.seed, trial.autoencoder_digest) for trial in comparison.trials}) < len(comparison.trials):
        assumed += " and independently, although some share autoencoders"
    return "t tests with the variance over seeds pooled over all methods", assumed


def the_control(comparison: Comparison) -> str:
    """Name the control."""
    return "the control" + f" ({comparison.control})" * (comparison.control != "control")


def _column(comparison: Comparison, quantity: Quantity) -> list[Cell]:
    n_decimals = _decimals(comparison, quantity)
    compared = against_control(comparison, quantity)
    cells = []
    for method in comparison.methods:
        trials, spread = comparison.of(method), quantity.spread(comparison, method)
        if spread is None:
            cells.append(Cell("refused" if any(map(quantity.score, trials)) else "–"))
            continue
        mean = _mean(quantity, quantity.values(comparison, method), n_decimals)
        is_measured = bound(quantity.metric, quantity.values(comparison, method)) == ""
        half = [f"± {_format((spread.greatest - spread.least) / 2, n_decimals)}"] * (spread.n > 1 and is_measured)
        part = [] if spread.n == len(trials) else [f"{spread.n} of {len(trials)} seeds"]
        difference = compared.get(method)
        mark = quantity.mark(difference) if difference else None
        values = {trial.seed: quantity.of(trial) for trial in trials}
        hints = [f"seed {seed}: {'refused' if v is None else quantity.words(v, 5)}" for seed, v in values.items()]
        if difference:
            hints.append(f"against the control: p = {number(difference.p, 2)}")
            if not math.isnan(difference.detectable):
                hints.append(f"detectable difference: {number(difference.detectable, 2)}")
        cells.append(Cell(mean, " ".join([*half, *part]), spread.mean, mark, "\n".join(hints)))
    return cells


def _decimals(comparison: Comparison, quantity: Quantity) -> int | None:
    """Return the decimals for all methods, by the median of their half ranges; None, three digits, without any."""
    spreads = (quantity.spread(comparison, method) for method in comparison.methods)
    halves = [half for each in spreads if each and (half := (each.greatest - each.least) / 2) > 0]
    return decimals(0, statistics.median(halves)) if halves else None


def _mean(quantity: Quantity, values: Sequence[float], n_decimals: int | None) -> str:
    """Return the mean, or its bound where one of the values is an end of the searched range."""
    mean, sign = statistics.mean(values), bound(quantity.metric, values)
    if sign is None:
        return MISSING.value
    return at_end(mean, quantity.metric) or sign + _format(mean, n_decimals)


def _format(value: float, n_decimals: int | None) -> str:
    return number(value) if n_decimals is None else fixed(value, n_decimals)
