"""One panel of a figure: axes to draw on, as inline SVG whose points tell their value to a pointer.

Colours are CSS variables of the page (--ink, --muted, --rule, --back, --c0 … --c7), so that one scheme serves figures
and text. Values: a transparent circle with a <title> on every point drawn, in the drawing's own coordinates.
"""

import contextlib
import html
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .digits import number

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
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "lines.solid_capstyle": "round",
    "text.color": INK,
}
WIDTH, HEIGHT = 316, 238
TOP, BOTTOM = 10, 40


class Panel(NamedTuple):
    """One drawing. label: what it shows, for those who do not see it."""

    title: str
    label: str
    svg: str


class Curve(NamedTuple):
    """A line to draw.

    Attributes:
        x: Abscissas (points).
        y: Ordinates (points).
        tip: The tooltip of its points, one text for all as in `Canvas.line`, or one for each; "" for none.
        style: Options of matplotlib's `plot`.
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

    def line(self, x: Sequence[float], y: Sequence[float], tip: str, **style: Any) -> None:
        """Draw a line; `tip` has the name of the line and, on a new line, {x} and {y} for the numbers of a point."""
        self.axes.plot(x, y, **style)
        name, _, text = tip.rpartition("\n")
        for at, value in zip(x, y, strict=True):
            self.tip(at, value, f"{name}\n{text.format(x=number(at), y=number(value))}")

    def tip(self, x: float, y: float, text: str) -> None:
        """Give the point (x, y) a tooltip."""
        self._tips.append((x, y, text))

    def curve(self, curve: Curve) -> None:
        """Draw a line with its tooltips."""
        if curve.tip and isinstance(curve.tip, str):
            self.line(curve.x, curve.y, curve.tip, **curve.style)
        else:
            self.axes.plot(curve.x, curve.y, **curve.style)
            for x, y, text in zip(curve.x, curve.y, curve.tip, strict=False):
                self.tip(x, y, text)

    def overlay(self) -> str:
        """The points within the axes, as SVG; after the figure was drawn."""
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
    """A canvas to draw on; the finished panel is appended to `panels`. Margins are fixed, so that axes line up."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Two inline drawings must not share an id.
    with mpl.rc_context(STYLE | {"svg.hashsalt": f"{title}/{label}"}):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        inner = (WIDTH - left - right) / WIDTH, (height - BOTTOM - TOP) / height
        canvas = Canvas(figure.add_axes((left / WIDTH, BOTTOM / height, *inner)))
        yield canvas
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
    y_limits: tuple[float, float] | None = None,
    prepare: Callable[["Axes"], object] = lambda axes: None,
    left: float = 54,
    right: float = 10,
    height: float = HEIGHT,
) -> Panel:
    """Draw lines in one panel.

    Args:
        title: What stands above it.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        series: The lines.
        label: What it shows, for those who do not see it; by default the labels of the axes and the names of the lines.
        x_scale: "frequency" is logarithmic, with ticks for frequencies in cycles per sample.
        y_scale: Scale of the y axis.
        level: A horizontal line below the others: its value and its colour.
        y_limits: Limits of the y axis; by default those of the lines.
        prepare: Called with the axes before the lines are drawn.
        left: Left margin in pixels.
        right: Right margin in pixels.
        height: Height in pixels.
    """
    panels: list[Panel] = []
    series = list(series)
    names = (curve.tip if isinstance(curve.tip, str) else curve.tip[0] for curve in series if curve.tip)
    label = label or f"{y_label} over {x_label}: {', '.join(dict.fromkeys(name.splitlines()[0] for name in names))}"
    with panel(title, label, panels, left, right, height) as canvas:
        axes = canvas.axes
        axes.set_ylabel(y_label)
        axes.set_yscale(y_scale)
        if x_scale == "frequency":
            frequency_axis(axes, x_label)
        else:
            axes.set_xlabel(x_label)
            axes.set_xscale(x_scale)
        if level is not None:
            axes.axhline(level[0], color=level[1], linewidth=1)
        prepare(axes)
        for curve in series:
            canvas.curve(curve)
        if y_limits is not None:
            axes.set_ylim(y_limits)
    return panels[0]


def colour(place: int) -> str:
    """Of the autoencoder at `place`, in figures, tables and keys."""
    return SERIES[place % len(SERIES)]


def line(place: int) -> dict[str, Any]:
    """How the line of the autoencoder at `place` is drawn."""
    return {
        "color": colour(place),
        "marker": MARKERS[place % len(MARKERS)],
        "markeredgecolor": BACK,
        "markeredgewidth": 0.6,
    }


def method_line(place: int) -> dict[str, Any]:
    """The same of the method at `place`: marks and colours come round after eight, dashes then tell them apart."""
    return line(place) | {"linestyle": DASHES[place // 8 % len(DASHES)]}


def number_at(axes: "Axes", place: int, at: tuple[float, float]) -> None:
    """The number of the method at `place` beside the point `at`, to both sides in turn: neighbours often lie close."""
    side = -1 if place % 2 else 1
    axes.annotate(
        str(place + 1),
        at,
        xytext=(7 * side, 4),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        fontsize=9,
        color=colour(place),
        weight="bold",
    )


def frequency_axis(axes: "Axes", x: str) -> None:
    """A logarithmic x axis of frequencies."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.xaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _power_ticks(axis: Any, low: float, high: float) -> None:
    """Labels 10⁻³, 0.1, … without mathematical typesetting, which would bring its own fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 200 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    if 0.001 < value < 10_000:
        return f"{value:g}"
    digit, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if digit == "1" else f"{digit}·{power}"


def _inline(svg: str) -> str:
    """An SVG document as an element of the page: its size and fonts are the page's, its colours variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    # Hundredths of a pixel are drawn by nobody. In tags alone: tick labels keep their digits.
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    referred = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)
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
