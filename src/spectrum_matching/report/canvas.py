"""Panels of figures, drawn by matplotlib: inline SVG with a tooltip on every point, and all that saving one needs.

A tooltip is a transparent circle with a <title>. Below the part that the page shows, a drawing has a legend of its
own, as the page's key is not saved with it.
"""

import contextlib
import csv
import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..files.names import listed, printable, printable_lines
from ..files.stages import slug
from ..records.measurement import Measurement
from .digits import number, power_of_ten
from .inline_svg import inline, titled_circle
from .marks import INK, MUTED, RULE, colour, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.size": 10,
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.labelcolor", "text.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 0),
    "axes.linewidth": 0.8,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "lines.solid_capstyle": "round",
}
WIDTH, HEIGHT = 316, 238
NOTHING = "there is nothing to draw"
TOP, BOTTOM = 10, 40
LINE = STYLE["lines.linewidth"] / (HEIGHT - TOP - BOTTOM)
"""Width of a line as a share of the height of the axes."""
LEGEND_ROW, LEGEND_SAMPLE, LETTER = 15, 26, 5.4
"""Height of a row of a legend, width of the sample of a line in it, and about that of a letter, in pixels."""


class Panel(NamedTuple):
    """A drawing; label: its text alternative; csv: its numbers; figure: what `saved.py` saves in other formats."""

    title: str
    label: str
    svg: str
    csv: str
    figure: "Figure"


class Curve(NamedTuple):
    """A line to draw; style: options of matplotlib's `plot`.

    x, y: a point that is not finite, or not positive on a logarithmic axis, is a gap in the line.
    tip: tooltips of the points, one text each; or the name of the line and, on a new line, text with {x} and {y} for
    the numbers of a point; or "" for none, as for a bar of an interval. What has tooltips is in the CSV.
    entry: its name in the legend, by default the first line of its tooltips; "" for none.
    errors: standard errors of y (of x in `by_row`), for the CSV.
    """

    x: Sequence[float]
    y: Sequence[float]
    tip: str | Sequence[str]
    style: Mapping[str, Any]
    entry: str | None = None
    errors: Sequence[float | None] = ()

    @property
    def name(self) -> str:
        """The first line of the first tooltip, or ""."""
        first = self.tip if isinstance(self.tip, str) else next(iter(self.tip), "")
        return first.partition("\n")[0]


class Canvas:
    """Axes, and what belongs to the points drawn on them: tooltips, numbers, and names of their styles."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self.entries: dict[str, Mapping[str, Any]] = {}
        self.columns: tuple[str, ...] = ()
        self._tips: list[tuple[float, float, str]] = []
        self._data: list[tuple[object, ...]] = []

    def has_points(self) -> bool:
        """Return whether a point of a line, or an area, was drawn; levels and marks of the axes do not count."""
        lines = [drawn for drawn in self.axes.lines if drawn.get_transform() is self.axes.transData]
        return bool(self.axes.patches) or any(np.isfinite(drawn.get_xydata()).all(1).any() for drawn in lines)

    def tip(self, x: float, y: float, text: str) -> None:
        """Give the point (x, y) a tooltip."""
        self._tips.append((x, y, text))

    def entry(self, name: str, style: Mapping[str, Any]) -> None:
        """Name a style in the legend; the first of each name counts."""
        self.entries.setdefault(name, style)

    def datum(self, *values: object) -> None:
        """Add a row to the CSV: by default the name of a series, x, y and the standard error or None."""
        self._data.append(values)

    def overlay(self) -> str:
        """Return the tooltips of the points within the axes as SVG; call it after the figure was drawn."""
        axes, height = self.axes, self.axes.figure.bbox.height
        left, bottom, right, top = axes.bbox.extents
        circles = []
        for x, y, text in self._tips:
            if (axes.get_yscale() == "log" and y <= 0) or not math.isfinite(x + y):
                continue
            px, py = axes.transData.transform((x, y))
            if left - 1 <= px <= right + 1 and bottom - 1 <= py <= top + 1:
                circles.append(titled_circle(px, height - py, text))
        return f'<g class="points">{"".join(circles)}</g>'

    def csv(self) -> str:
        """Return the numbers: the columns, by default named by the axes, and seven significant digits."""
        names = self.columns or ("series", self.axes.get_xlabel() or "x", self.axes.get_ylabel() or "value")
        if any(len(row) > len(names) and row[len(names)] is not None for row in self._data):
            names = (*names, "standard error")
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([" ".join(name.split()) for name in names])
        for row in self._data:
            writer.writerow([f"{each:.7g}" if isinstance(each, float) else each for each in row[: len(names)]])
        return printable_lines(file.getvalue())


@contextlib.contextmanager
def panel(
    title: str, label: str, panels: list[Panel], left: float = 54, right: float = 10, height: float = HEIGHT
) -> Iterator[Canvas]:
    """Yield a canvas to draw on, and append the finished panel to `panels`. Fixed margins (px) align the axes.

    A panel on which nothing was drawn says so.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        canvas = Canvas(figure.add_axes((0, 0, 1, 1)))
        yield canvas
        if not canvas.has_points():
            canvas.axes.text(0.5, 0.5, NOTHING, transform=canvas.axes.transAxes, ha="center", color=MUTED)
        whole = height + _add_legend(figure, canvas.entries)
        figure.set_size_inches(WIDTH / 72, whole / 72)
        inner = (WIDTH - left - right) / WIDTH, (height - BOTTOM - TOP) / whole
        canvas.axes.set_position((left / WIDTH, (whole - height + BOTTOM) / whole, *inner))
        if canvas.axes.get_yscale() == "log":
            _power_ticks(canvas.axes.yaxis, *canvas.axes.get_ylim())
    drawn = saved(figure, "svg", {"Date": None}, printable(f"{title}/{label}"))
    svg = inline(drawn.decode(), f"0 0 {WIDTH} {height:g}").replace("</svg>", f"{canvas.overlay()}</svg>")
    panels.append(Panel(title, label, svg, canvas.csv(), figure))


def saved(figure: "Figure", file_format: str, metadata: Mapping[str, str | None], salt: str = "") -> bytes:
    """Return a figure as a file; salt: what the ids within an SVG are hashed with, since two must not share any."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a page has fonts for all scripts
        figure.savefig(file, format=file_format, metadata=dict(metadata))
    return file.getvalue()


def curves(
    title: str,
    x_label: str,
    y_label: str,
    series: Iterable[Curve],
    *,
    label: str = "",
    x_scale: Literal["linear", "log", "frequency"] = "linear",
    y_scale: Literal["linear", "log"] = "linear",
    level: tuple[float, str] | None = None,
    x_limits: tuple[float | None, float | None] = (None, None),
    y_limits: tuple[float, float] | None = None,
    prepare: Callable[["Axes"], object] = lambda axes: None,
    rows: Sequence[str] = (),
    left: float = 54,
    right: float = 10,
    height: float = HEIGHT,
) -> Panel:
    """Draw lines in one panel; margins and height in pixels.

    label: text alternative, by default the labels of the axes and the names of the lines. x_scale: "frequency" is
    logarithmic, with ticks for cycles per sample. level: value and colour of a horizontal line below the others.
    prepare: called with the axes before the lines are drawn. rows: what the integers nearest to y mean, for the CSV.
    """
    panels: list[Panel] = []
    series = list(series)
    names = dict.fromkeys(curve.name for curve in series if curve.name)
    label = label or f"{y_label} over {x_label}: {listed(names)}"
    with panel(title, label, panels, left, right, height) as canvas:
        axes = canvas.axes
        axes.set_ylabel(y_label)
        axes.set_yscale(y_scale)
        axes.set_xlabel(x_label)
        axes.set_xscale("linear" if x_scale == "linear" else "log")
        if x_scale == "frequency":
            _frequency_ticks(axes.xaxis)
        if level is not None:
            axes.axhline(level[0], color=level[1], linewidth=1)
        prepare(axes)
        if rows:
            canvas.columns = ("series", "row", x_label)
        for curve in series:
            axes.plot(*_with_gaps(axes, curve), **curve.style)
            if entry := curve.name if curve.entry is None else curve.entry:
                canvas.entry(entry, curve.style)
            if curve.tip:
                _annotate(canvas, curve, rows)
        axes.set_xlim(*x_limits)
        axes.set_ylim(y_limits)
        if hidden := _hiding(axes, series):
            said = shortened(printable(listed(hidden)), int((WIDTH - left - right) / LETTER))
            style: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 9, "color": MUTED}
            axes.text(1.0, 1.0, said, transform=axes.transAxes, **style)
    return panels[0]


def by_row(
    title: str, x_label: str, rows: Sequence[str], series: Iterable[Curve], *, row: float = 17, **options: Any
) -> Panel:
    """Draw points in named rows, the first on top: y of a curve is its row. row: height in pixels, at least."""

    def prepare(axes: "Axes") -> None:
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.tick_params("y", length=0, labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params("x", nbins=4)

    height = max(HEIGHT, 60 + row * len(rows))
    return curves(title, x_label, "", series, prepare=prepare, rows=rows, height=height, **options)


def estimate(
    value: float, error: float | None, row: float, tip: str, index: int, entry: str | None = None, **style: Any
) -> tuple[Curve, Curve]:
    """Return one standard error to both sides and the mark of a number, for `by_row`; entry: as in `Curve`."""
    half = error or 0.0
    bar = Curve([value - half, value + half], [row, row], "", {"color": colour(index), "linewidth": 1})
    mark = line(index) | {"linestyle": "none", "markersize": 6} | style
    return bar, Curve([value], [row], [tip], mark, entry, [error])


def figure_name(section: str, panel: Panel) -> str:
    """Return the name of the files of a panel, "spectra-latents_beside_the_targets"."""
    return f"{section}-{slug(panel.title)}".strip("-")


def plotted(measurement: Measurement) -> float:
    """Return a number for a curve: NaN, which leaves a gap, where it was refused."""
    return math.nan if measurement.value is None else measurement.value


def as_shares(power: Sequence[float]) -> list[float]:
    """Return each number's share of the sum; zeros where the sum is 0."""
    total = sum(power) or 1.0
    return [each / total for each in power]


def positive_limits(values: Iterable[float]) -> tuple[float, float]:
    """Return limits of a logarithmic axis that show all positive numbers."""
    positive = [value for value in values if value > 0] or [1.0]
    return min(positive) / 1.5, max(positive) * 1.5


def shortened(name: str, longest: int) -> str:
    """Return a name of so many characters at most, cut in its middle: names of one family often differ at the end."""
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-(longest // 2) :]}"


def number_at(axes: "Axes", index: int, at: tuple[float, float]) -> None:
    """Write the number of a method beside a point, on alternate sides, as neighbours are often close."""
    side, align = (-1, "right") if index % 2 else (1, "left")
    style: dict[str, Any] = {"ha": align, "fontsize": 9, "color": colour(index), "weight": "bold"}
    axes.annotate(str(index + 1), at, (7 * side, 4), textcoords="offset points", **style)


def _annotate(canvas: Canvas, curve: Curve, rows: Sequence[str]) -> None:
    """Give the points of a curve their tooltips, and add them to the CSV."""
    if isinstance(curve.tip, str):
        name, _, text = curve.tip.rpartition("\n")
        numbers = zip(map(number, curve.x), map(number, curve.y), strict=True)
        tips: Sequence[str] = [f"{name}\n{text.format(x=x, y=y)}" for x, y in numbers]
    else:
        tips = curve.tip
    errors = curve.errors or [None] * len(curve.x)
    for x, y, tip, error in zip(curve.x, curve.y, tips, errors, strict=True):
        canvas.tip(x, y, tip)
        series, at = tip.partition("\n")[0], float(x)
        canvas.datum(*((series, rows[round(y)], at) if rows else (series, at, float(y))), error)


def _add_legend(figure: "Figure", entries: Mapping[str, Mapping[str, Any]]) -> float:
    """Draw samples of lines and their names at the bottom of a figure; return the height that they take."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    if len(entries) < 2:
        return 0.0
    names = [shortened(printable(name), int((WIDTH - LEGEND_SAMPLE - 16) / LETTER)) for name in entries]
    width = LEGEND_SAMPLE + 12 + LETTER * max(map(len, names))
    n_columns = max(1, int((WIDTH - 8) / width))
    n_rows = math.ceil(len(names) / n_columns)
    at: dict[str, Any] = {"transform": IdentityTransform(), "gid": "legend"}
    for i, (name, style) in enumerate(zip(names, entries.values(), strict=True)):
        x, y = 8 + (i // n_rows) * width, 4 + (n_rows - i % n_rows - 0.5) * LEGEND_ROW
        ends, middle = [x, x + LEGEND_SAMPLE - 6], x + LEGEND_SAMPLE / 2 - 3
        sample = {"linewidth": 1.7} | {key: value for key, value in style.items() if key != "alpha"}
        figure.add_artist(Line2D(ends, [y, y], **sample | {"marker": ""}, **at))
        figure.add_artist(Line2D([middle], [y], **sample | {"linestyle": "none"}, **at))
        figure.text(x + LEGEND_SAMPLE, y - 1, name, va="center", fontsize=9, **at)
    return n_rows * LEGEND_ROW + 8


def _with_gaps(axes: "Axes", curve: Curve) -> tuple[list[float], list[float]]:
    """Return the points of a curve, NaN where one cannot be drawn."""
    logarithmic = axes.get_xscale() == "log", axes.get_yscale() == "log"
    points = [
        (x, y)
        if math.isfinite(x + y) and all(value > 0 or not log for value, log in zip((x, y), logarithmic, strict=True))
        else (math.nan, math.nan)
        for x, y in zip(curve.x, curve.y, strict=True)
    ]
    return [x for x, _ in points], [y for _, y in points]


def _hiding(axes: "Axes", series: Sequence[Curve]) -> list[str]:
    """Return "B hides A" for each line over one of another colour, nowhere a line's width from it."""
    axes.get_ylim()  # brings the transform up to date
    to_axes = axes.transData - axes.transAxes
    named = [curve for curve in series if curve.tip and len(curve.x) > 1]
    points = [to_axes.transform(np.column_stack(_with_gaps(axes, curve))) for curve in named]
    hidden: dict[str, str] = {}  # by the line on top
    for (below, a), (above, b) in combinations(zip(named, points, strict=True), 2):
        differ = below.style.get("color") != above.style.get("color") and np.isfinite(a).any()
        if differ and a.shape == b.shape and np.allclose(a, b, rtol=0, atol=LINE, equal_nan=True):
            hidden.setdefault(above.name, f"{above.name} hides {below.name}")
    return list(hidden.values())


def _frequency_ticks(axis: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _power_ticks(axis: Any, low: float, high: float) -> None:
    """Label 10⁻³, 0.1, … without mathematical typesetting, which would bring its own fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 200 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())


def _short(value: float) -> str:
    if 0.001 < value < 10_000:
        return f"{value:g}"
    digit, exponent = f"{value:.0e}".split("e")
    return power_of_ten(exponent) if digit == "1" else f"{digit}·{power_of_ten(exponent)}"
