"""A table: one record for the page (macros.html), the terminal (terminal.py) and Markdown."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..metrics.metric import Metric
from ..records.analysis import Provenance
from ..records.measurement import Measurement
from .digits import at_end, fixed, number, spread


class Mark(NamedTuple):
    """A glyph beside a value, and the word for it."""

    glyph: str
    word: str


class Cell(NamedTuple):
    """A value, smaller its uncertainty, a mark beside it, and a tooltip.

    key: what the cell sorts by; None for words and for missing values, which sort last.
    """

    value: str
    spread: str = ""
    key: float | None = None
    mark: Mark | None = None
    hint: str = ""


MISSING = Cell("–")


class Column(NamedTuple):
    """A heading and, smaller, its unit.

    is_text: words rather than numbers. one_sided: a blurred or constant latent would get the best value. better: the
    direction of improvement, "↓ lower". group: title of the group of columns that starts here, "" within one.
    """

    title: str
    unit: str = ""
    is_text: bool = False
    one_sided: bool = False
    better: str = ""
    group: str = ""


class Table(NamedTuple):
    """Columns, and rows: each the index of the row's name, then its cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[int, tuple[Cell, ...]], ...]

    @property
    def sorts(self) -> bool:
        """Whether rows may be reordered: there are several, each with a name of its own."""
        indices = [index for index, _ in self.rows]
        return 1 < len(indices) == len(set(indices))


class Matrix(NamedTuple):
    """Pictures of one image in rows and columns.

    rows: the index of the row's name, None for the image itself, and a PNG in base64 for each column, "" for none.
    """

    image: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int | None, tuple[str, ...]], ...]


def markdown(table: Table, names: Sequence[str], rows_are: str) -> str:
    """Return a table in Markdown, one line a row."""
    arrows = [f" {column.better[0]}" if column.better[:1] in ("↓", "↑") else "" for column in table.columns]
    units = [f" ({column.unit})" if column.unit else "" for column in table.columns]
    heads = [_escaped(c.title) + arrow + unit for c, arrow, unit in zip(table.columns, arrows, units, strict=True)]
    rules = ["---" if column.is_text else "---:" for column in table.columns]
    lines = [f"| {rows_are} | {' | '.join(heads)} |", f"|---|{'|'.join(rules)}|"]
    for index, cells in table.rows:
        written = [" ".join(filter(None, (c.value, c.spread, c.mark and c.mark.glyph))) for c in cells]
        lines.append(f"| {' | '.join(map(_escaped, (names[index], *written)))} |")
    return "\n".join(lines)


def measured(measurement: Measurement | None, n_decimals: int, metric: Metric | None = None) -> Cell:
    """Return a number with its standard error as a cell; of a metric that is searched for, an end of the range."""
    if measurement is None or measurement.value is None:
        return Cell("refused") if measurement else MISSING
    value = float(measurement)
    if metric and (end := at_end(value, metric)):
        return Cell(end, "", value)
    return Cell(fixed(value, n_decimals), spread(measurement.standard_error, n_decimals), value)


def plain(value: float | None, digits: int = 3) -> Cell:
    """Return a number of so many significant digits as a cell."""
    return MISSING if value is None else Cell(number(value, digits), "", value)


def extremes(values: Iterable[float]) -> Cell:
    """Return the least and the greatest number as a cell."""
    ordered = sorted(values)
    return Cell(f"{number(ordered[0])} … {number(ordered[-1])}", "", ordered[-1])


def provenance_rows(provenance: Provenance) -> dict[str, str]:
    """Return the provenance by title."""
    return {
        "specmatch": provenance.version,
        "commit": provenance.commit or "installed package",
        "torch, diffusers": f"{provenance.torch}, {provenance.diffusers}",
        "device, precision": f"{provenance.device}, {provenance.dtype}",
        "seed": str(provenance.seed),
    }


def distinct(values: Iterable[str]) -> list[str]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))


def grouped(values: Sequence[str], names: Sequence[str]) -> str:
    """Return the different values with the names of those that have them, "250 (A, C); 50 (B)"."""
    owners = {value: [name for name, each in zip(names, values, strict=True) if each == value] for value in values}
    return "; ".join(f"{value} ({', '.join(those)})" for value, those in owners.items())


def attributed(lines: Sequence[Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return each line once, preceded by the names of those that have it unless all have it."""
    result = []
    for line in distinct(line for each in lines for line in each):
        those = [name for name, each in zip(names, lines, strict=True) if line in each]
        result.append(line if len(those) == len(names) else f"{', '.join(those)}: {line}")
    return result


def _escaped(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").split())
