"""Panels of figures, drawn by matplotlib, as inline SVG with a tooltip on every point.

Colours are CSS variables of the page (--ink, --muted, --rule, --back, --c0 … --c7), so that one scheme serves figures
and text. A tooltip is a transparent circle with a <title>.
"""

import contextlib
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..files.names import printable
from ..records.measurement import Measurement
from .digits import number, power_of_ten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE, BACK = "#1d1f23", "#6b6f76", "#e2e0d8", "#fefdfb"
SERIES = ("#c2452d", "#1f6f8b", "#3f7d3a", "#7b4fa3", "#b0781a", "#3c4a9e", "#a8326e", "#4d6a6d")
MARKERS = "osD^vP*X"
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", BACK: "back", **{c: f"c{i}" for i, c in enumerate(SERIES)}}
DASHED: Any = (0, (4, 2.5))
DASHES: tuple[Any, ...] = ("solid", DASHED, (0, (1, 1.5)))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
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


class Panel(NamedTuple):
    """A drawing; label: its text alternative."""

    title: str
    label: str
    svg: str


class Curve(NamedTuple):
    """A line to draw; style: options of matplotlib's `plot`.

    x, y: a point that is not finite, or not positive on a logarithmic axis, is a gap in the line.
    tip: tooltips of the points, one text each; or the name of the line and, on a new line, text with {x} and {y} for
    the numbers of a point; or "" for none.
    """

    x: Sequence[float]
    y: Sequence[float]
    tip: str | Sequence[str]
    style: Mapping[str, Any]


class Canvas:
    """Axes, and the tooltips of the points drawn on them."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self._tips: list[tuple[float, float, str]] = []

    def has_points(self) -> bool:
        """Return whether a point of a line, or an area, was drawn; levels and marks of the axes do not count."""
        lines = [drawn for drawn in self.axes.lines if drawn.get_transform() is self.axes.transData]
        return bool(self.axes.patches) or any(np.isfinite(drawn.get_xydata()).all(1).any() for drawn in lines)

    def tip(self, x: float, y: float, text: str) -> None:
        """Give the point (x, y) a tooltip."""
        self._tips.append((x, y, text))

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
                title = html.escape(text, quote=False)
                circles.append(f'<circle cx="{px:.1f}" cy="{height - py:.1f}" r="6"><title>{title}</title></circle>')
        return f'<g class="points">{"".join(circles)}</g>'


@contextlib.contextmanager
def panel(
    title: str, label: str, panels: list[Panel], left: float = 54, right: float = 10, height: float = HEIGHT
) -> Iterator[Canvas]:
    """Yield a canvas to draw on, and append the finished panel to `panels`. Fixed margins (px) align the axes.

    A panel on which nothing was drawn says so.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Two inline drawings must not share an id.
    with mpl.rc_context(STYLE | {"svg.hashsalt": printable(f"{title}/{label}")}):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        inner = (WIDTH - left - right) / WIDTH, (height - BOTTOM - TOP) / height
        canvas = Canvas(figure.add_axes((left / WIDTH, BOTTOM / height, *inner)))
        yield canvas
        if not canvas.has_points():
            canvas.axes.text(0.5, 0.5, NOTHING, transform=canvas.axes.transAxes, ha="center", color=MUTED)
        if canvas.axes.get_yscale() == "log":
            _power_ticks(canvas.axes.yaxis, *canvas.axes.get_ylim())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    panels.append(Panel(title, label, _inline(file.getvalue()).replace("</svg>", f"{canvas.overlay()}</svg>")))


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
    left: float = 54,
    right: float = 10,
    height: float = HEIGHT,
) -> Panel:
    """Draw lines in one panel; margins and height in pixels.

    label: text alternative, by default the labels of the axes and the names of the lines. x_scale: "frequency" is
    logarithmic, with ticks for cycles per sample. level: value and colour of a horizontal line below the others.
    prepare: called with the axes before the lines are drawn.
    """
    panels: list[Panel] = []
    series = list(series)
    names = (curve.tip if isinstance(curve.tip, str) else curve.tip[0] for curve in series if curve.tip)
    label = label or f"{y_label} over {x_label}: {', '.join(dict.fromkeys(name.splitlines()[0] for name in names))}"
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
        for curve in series:
            axes.plot(*_with_gaps(axes, curve), **curve.style)
            tips = curve.tip or [""] * len(curve.x)
            if isinstance(tips, str):
                name, _, text = tips.rpartition("\n")
                numbers = zip(map(number, curve.x), map(number, curve.y), strict=True)
                tips = [f"{name}\n{text.format(x=x, y=y)}" for x, y in numbers]
            for x, y, tip in zip(curve.x, curve.y, tips, strict=True):
                if tip:
                    canvas.tip(x, y, tip)
        axes.set_xlim(*x_limits)
        axes.set_ylim(y_limits)
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
    return curves(title, x_label, "", series, prepare=prepare, height=height, **options)


def estimate(value: float, error: float | None, row: float, tip: str, index: int, **style: Any) -> tuple[Curve, Curve]:
    """Return one standard error to both sides and the mark of a number, for `by_row`."""
    half = error or 0.0
    bar = Curve([value - half, value + half], [row, row], "", {"color": colour(index), "linewidth": 1})
    return bar, Curve([value], [row], [tip], line(index) | {"linestyle": "none", "markersize": 6} | style)


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


def colour(index: int) -> str:
    """Return the colour of an autoencoder or method in figures, tables and keys."""
    return SERIES[index % len(SERIES)]


def line(index: int) -> dict[str, Any]:
    """Return the style of an autoencoder's line."""
    marker = MARKERS[index % len(MARKERS)]
    return {"color": colour(index), "marker": marker, "markeredgecolor": BACK, "markeredgewidth": 0.6}


def method_line(index: int) -> dict[str, Any]:
    """Return the style of a method's line: dashes distinguish more than eight, whose marks and colours repeat."""
    return line(index) | {"linestyle": DASHES[index // 8 % len(DASHES)]}


def dashes_in_words(n_methods: int) -> str:
    """Return what the dashes of `method_line` mean, for the key of a figure; "" where all lines are solid."""
    return "lines 9 to 16 are dashed, later ones dotted" if n_methods > 8 else ""


def number_at(axes: "Axes", index: int, at: tuple[float, float]) -> None:
    """Write the number of a method beside a point, on alternate sides, as neighbours are often close."""
    side, align = (-1, "right") if index % 2 else (1, "left")
    style: dict[str, Any] = {"ha": align, "fontsize": 9, "color": colour(index), "weight": "bold"}
    axes.annotate(str(index + 1), at, (7 * side, 4), textcoords="offset points", **style)


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


def _frequency_ticks(axis: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _power_ticks(axis: Any, low: float, high: float) -> None:
    """Label 10⁻³, 0.1, … without mathematical typesetting, which would bring its own fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 200 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    if 0.001 < value < 10_000:
        return f"{value:g}"
    digit, exponent = f"{value:.0e}".split("e")
    return power_of_ten(exponent) if digit == "1" else f"{digit}·{power_of_ten(exponent)}"


def _inline(svg: str) -> str:
    """Return an SVG document as an element of the page, which sets its size, fonts and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    # Hundredths of a pixel are enough. Only in tags: tick labels keep their digits.
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    referred = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", svg)
    svg = re.sub(r"font(-family|-size)?: [^;\"]*", _font, svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    for value, name in VARIABLES.items():
        rest = rest.replace(value, f"var(--{name})")
    return f'<svg {box[0]} aria-hidden="true">{rest}'


def _font(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size else ""
