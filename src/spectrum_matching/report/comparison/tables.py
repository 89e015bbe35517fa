"""The comparison's tables: methods by mean and spread over seeds, pair by pair, seed by seed, and what they cost."""

import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

from ...metrics.ranks import chance_apart
from ...records.comparison import Comparison
from ..analysis.metric_rows import DIRECTIONS
from ..digits import decimals, fixed, number
from ..table import MISSING, Cell, Column, Mark, Table, distinct, markdown
from .quantities import BETTER, UNDECIDED, WORSE, Quantity, headline, held, main_quantities


class PairRow(NamedTuple):
    """One method against each: better, worse, undecided; None against itself, or where a single seed says nothing."""

    place: int
    cell: Cell
    counts: tuple[int, int, int]
    against: tuple[Mark | None, ...]


class Pairs(NamedTuple):
    """Methods by their mean of one score, best first, pair by pair.

    n_decided: pairs whose ranges over seeds lie apart, of n_pairs of which both have two seeds or more. expected: of
    those, how many would if all methods were the same. chances: the numbers of seeds, how likely such a pair is.
    """

    quantity: Quantity
    rows: tuple[PairRow, ...]
    n_decided: int
    n_pairs: int
    expected: Fraction
    chances: tuple[tuple[tuple[int, int], Fraction], ...]


GROUPS = {"generation": "generated", "reconstruction": "decoded", "autoencoder": "autoencoder"}


def score_table(comparison: Comparison, quantities: Sequence[Quantity], *, full_titles: bool = False) -> Table:
    """Return a row for each method: means over seeds, ± half their range, marks against the control, seeds as hints."""
    sources = [quantity.source for quantity in quantities]
    columns = tuple(
        Column(
            metric.title if full_titles else quantity.title,
            metric.unit,
            one_sided=metric.one_sided,
            better=DIRECTIONS[metric.better],
            group=GROUPS[quantity.source] if sources.index(quantity.source) == index else "",
        )
        for index, quantity in enumerate(quantities)
        for metric in [quantity.metric]
    )
    cells = [_column(comparison, quantity) for quantity in quantities]
    rows = (tuple(column[row] for column in cells) for row in range(len(comparison.methods)))
    return Table(columns, tuple(enumerate(rows)))


def pairs(comparison: Comparison) -> Pairs | None:
    """By the headline score; None where there is none."""
    quantity = headline(comparison)
    if quantity is None:
        return None
    spreads = [quantity.spread(comparison, method) for method in comparison.methods]
    cells = _column(comparison, quantity)
    sign = 1 if quantity.metric.better == "lower" else -1
    ranked = sorted((place for place, own in enumerate(spreads) if own), key=lambda place: sign * spreads[place].mean)  # type: ignore[union-attr]
    rows = []
    for place in ranked:
        against = tuple(
            None if place == other else held(spreads[place], spreads[other], quantity.metric) for other in ranked
        )
        counts = (against.count(BETTER), against.count(WORSE), against.count(UNDECIDED))
        rows.append(PairRow(place, cells[place], counts, against))
    sizes = [own.n for own in spreads if own and own.n > 1]
    chances = {(min(n, m), max(n, m)): chance_apart(n, m) for n, m in combinations(sizes, 2)}
    expected = sum((chance_apart(n, m) for n, m in combinations(sizes, 2)), Fraction(0))
    n_pairs = len(sizes) * (len(sizes) - 1) // 2
    n_decided = sum(row.counts[0] for row in rows)
    return Pairs(quantity, tuple(rows), n_decided, n_pairs, expected, tuple(sorted(chances.items())))


def seed_table(comparison: Comparison, quantities: Sequence[Quantity]) -> Table:
    """A row for every trial; beside a score half its interval of 95 % over images, if it has one."""
    columns = (Column("seed", is_text=True), *(Column(each.title, each.metric.unit) for each in quantities))
    precision = [_decimals(comparison, quantity) for quantity in quantities]
    rows = []
    for place, method in enumerate(comparison.methods):
        for trial in comparison.of(method):
            cells = []
            for quantity, n in zip(quantities, precision, strict=True):
                value, score = quantity.of(trial), quantity.score(trial)
                half = score.half_width if score else None
                written = "" if half is None else f"± {_written(half, n)}"
                cells.append(MISSING if value is None else Cell(_written(value, n), written, value))
            rows.append((place, (Cell(str(trial.seed)), *cells)))
    return Table(columns, tuple(rows))


def cost_table(comparison: Comparison) -> Table:
    """Seconds by stage, mean over seeds."""
    stages = distinct(stage for trial in comparison.trials for stage in trial.seconds)
    columns = (*(Column(stage, "s") for stage in stages), Column("all", "s"))
    rows = []
    for place, method in enumerate(comparison.methods):
        trials = comparison.of(method)
        cells = []
        for stage in stages:
            found = [trial.seconds[stage] for trial in trials if stage in trial.seconds]
            cells.append(_seconds(statistics.mean(found)) if found else MISSING)
        cells.append(_seconds(statistics.mean([sum(trial.seconds.values()) for trial in trials])))
        rows.append((place, tuple(cells)))
    return Table(columns, tuple(rows))


def weights_table(comparison: Comparison) -> Table:
    """Which weights each trial is of."""
    columns = tuple(
        Column(title, is_text=True)
        for title in ("seed", "autoencoder", "digest", "denoiser", "digest", "seed of the samples")
    )
    rows = []
    for place, method in enumerate(comparison.methods):
        for trial in comparison.of(method):
            sampling = trial.generation.protocol.sampling
            own = (sampling.autoencoder, sampling.denoiser, str(sampling.seed)) if sampling else ("", "", "")
            said = (str(trial.seed), own[0], trial.autoencoder_digest, own[1], trial.denoiser_digest, own[2])
            rows.append((place, tuple(Cell(each or "–") for each in said)))
    return Table(columns, tuple(rows))


def comparison_markdown(comparison: Comparison) -> str:
    """The main table as Markdown, and a line that says how to read it."""
    table = score_table(comparison, main_quantities(comparison))
    return f"{markdown(table, comparison.methods, 'method')}\n\n{legend(comparison)}\n"


def legend(comparison: Comparison) -> str:
    """What ± and the marks mean, and how often luck alone makes one."""
    sizes = {len(comparison.of(method)) for method in comparison.methods}
    if max(sizes) < 2:
        return "One seed each: there is no spread, and no difference between methods can be told from luck."
    said = "Mean over seeds ± half their range; ↑ higher is better, ↓ lower is."
    own = len(comparison.of(comparison.control))
    others = sorted({len(comparison.of(m)) for m in comparison.methods if m != comparison.control} - {1})
    if own < 2 or not others:
        return said
    chances = " or ".join(distinct(in_words(chance_apart(own, n)) for n in others))
    return (
        f"{said} Against {the_control(comparison)}: ▲ better, ▼ worse in every seed than in any of the control’s "
        f"(△ higher, ▽ lower where neither is better), = undecided, as the seeds overlap. Were a method no different "
        f"from the control, luck alone would still part the two in {chances} columns."
    )


def the_control(comparison: Comparison) -> str:
    """By its name, unless that says nothing else."""
    return "the control" + f" ({comparison.control})" * (comparison.control != "control")


def in_words(chance: Fraction) -> str:
    """ "1 of 3"."""
    return f"{chance.numerator} of {chance.denominator}"


def _column(comparison: Comparison, quantity: Quantity) -> list[Cell]:
    n_decimals = _decimals(comparison, quantity)
    control = quantity.spread(comparison, comparison.control)
    cells = []
    for method in comparison.methods:
        own = quantity.spread(comparison, method)
        if own is None:
            cells.append(Cell("refused" if any(map(quantity.score, comparison.of(method))) else "–"))
            continue
        mark = None if method == comparison.control else held(own, control, quantity.metric)
        n_trials = len(comparison.of(method))
        half = f"± {_written((own.greatest - own.least) / 2, n_decimals)}" if own.n > 1 else ""
        some = "" if own.n == n_trials else f"{own.n} of {n_trials} seeds"
        seeds = [(trial.seed, quantity.of(trial)) for trial in comparison.of(method)]
        told = "\n".join(f"seed {seed}: {'refused' if v is None else number(v, 5)}" for seed, v in seeds)
        cells.append(Cell(_written(own.mean, n_decimals), " ".join(filter(None, (half, some))), own.mean, mark, told))
    return cells


def _decimals(comparison: Comparison, quantity: Quantity) -> int | None:
    """Of all methods alike, by the median of their half ranges; None, for three digits, where no method has one."""
    spreads = [own for method in comparison.methods if (own := quantity.spread(comparison, method))]
    halves = [half for own in spreads if (half := (own.greatest - own.least) / 2) > 0]
    return decimals(0, statistics.median(halves)) if halves else None


def _written(value: float, n_decimals: int | None) -> str:
    return number(value) if n_decimals is None else fixed(value, n_decimals)


def _seconds(value: float) -> Cell:
    return Cell(fixed(value, 0 if value >= 10 else 1), "", value)
