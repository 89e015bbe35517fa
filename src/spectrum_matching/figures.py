"""The report's figures as inline SVG: small panels that stand side by side on a desk and one below another on a phone.

Colours are CSS variables of the page (--ink, --muted, --rule, --c0 … --c7), so that one scheme serves figures and text.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .results import Analysis, Kind, SpectrumMatch, Variant
from .spectrum.powerlaw import fit_power_law
from .tables import REFERENCE_DELTAS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE, BACK = "#1d1f23", "#6b6f76", "#e2e0d8", "#fefdfb"
SERIES = ("#c2452d", "#1f6f8b", "#3f7d3a", "#7b4fa3", "#b0781a", "#3c4a9e", "#a8326e", "#4d6a6d")
MARKERS = "osD^vP*X"
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", BACK: "back", **{c: f"c{i}" for i, c in enumerate(SERIES)}}
DASHES: dict[Kind, Any] = {"mean": "solid", "sample": (0, (4, 2.5))}
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


class Panel(NamedTuple):
    """One drawing. label: what it shows, for those who do not see it."""

    title: str
    label: str
    svg: str


def colour(place: int) -> str:
    """Of the autoencoder at `place`, in figures, tables and keys."""
    return SERIES[place % len(SERIES)]


def spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """The images on their own grid; shares of power on the latent grid; the same divided by the images' share."""
    panels: list[Panel] = []
    first = analyses[0]
    with _panel("Images", f"power spectrum of the images, exponent {first.image.exponent.value:.2f}", panels) as axes:
        f, power = first.image.frequencies, first.image.power
        _log_log(axes, "cycles per pixel", "mean power")
        axes.plot(f, power, color=INK)
        law = fit_power_law(torch.tensor(power), torch.tensor(f), 1 / torch.tensor(f))
        level, exponent = float(law.amplitude), float(law.exponent)
        axes.plot(f, [level * x**-exponent for x in f], color=MUTED, linewidth=1, linestyle=DASHES["sample"])
        axes.text(
            0.97,
            0.93,
            f"dashed: exponent {exponent:.2f}",
            transform=axes.transAxes,
            ha="right",
            color=MUTED,
            fontsize=9,
        )
    with _panel("Latents beside the targets", _names("share of latent power by frequency", analyses), panels) as axes:
        _log_log(axes, "cycles per latent cell", "share of a band")
        _draw_targets(axes, first.view("mean").match("scale_free"), divided=False)
        for place, analysis in enumerate(analyses):
            match = analysis.view("mean").match("scale_free")
            axes.plot(match.frequencies, match.latent, **_line(place))
    with _panel("The same, divided by the images", _names("latent share over image share", analyses), panels) as axes:
        _log_log(axes, "cycles per latent cell", "latents’ share / images’ share")
        _draw_targets(axes, first.view("mean").match("scale_free"), divided=True)
        for place, analysis in enumerate(analyses):
            match = analysis.view("mean").match("scale_free")
            image = match.target(0.0)
            axes.plot(match.frequencies, [p / q for p, q in zip(match.latent, image, strict=True)], **_line(place))
    return panels


def gap_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """Gap over delta, one panel a variant, each minimum with its interval."""
    panels: list[Panel] = []
    titles: dict[Variant, str] = {"scale_free": "Scale-free variant", "paper": "The paper’s variant"}
    for variant, title in titles.items():
        with _panel(title, _names(f"gap over delta, {title.lower()}", analyses), panels) as axes:
            axes.set_yscale("log")
            axes.set_xlabel("delta")
            axes.set_ylabel("gap in nats")
            for place, analysis in enumerate(analyses):
                match = analysis.view("mean").match(variant)
                line = _line(place) | {"marker": ""}
                axes.plot(match.deltas, [gap.value for gap in match.gaps], **line)
                low, high = match.best_delta_interval
                axes.plot([low, high], [match.best_gap] * 2, color=colour(place), linewidth=5, alpha=0.35)
                axes.plot(match.best_delta, match.best_gap, **_line(place) | {"markersize": 6})
            _power_ticks(axes.yaxis, (1, 2, 5))
    return panels


def lowpass_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """PSNR of decoded low-passed latents, and how far it falls short of an aligned decoder."""
    drawn = [(place, analysis) for place, analysis in enumerate(analyses) if analysis.lowpass]
    panels: list[Panel] = []
    if not drawn:
        return panels
    with _panel("PSNR against the low-passed image", _names("PSNR over low-pass strength", analyses), panels) as axes:
        axes.set_ylabel("PSNR in dB")
        for place, analysis in drawn:
            x = _kept_shares(analysis)
            aligned = [point.aligned.value for point in analysis.lowpass]
            axes.plot(x, aligned, color=colour(place), linestyle=(0, (4, 2.5)), linewidth=1.2)
            axes.plot(x, [point.decoded.value for point in analysis.lowpass], **_line(place))
        _strength_axis(axes, [analysis for _, analysis in drawn])
    with _panel("Aligned less decoded", _names("low-pass gap over strength", analyses), panels) as axes:
        axes.set_ylabel("low-pass gap in dB")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for place, analysis in drawn:
            gaps = [point.aligned.value - point.decoded.value for point in analysis.lowpass]
            axes.plot(_kept_shares(analysis), gaps, **_line(place))
        _strength_axis(axes, [analysis for _, analysis in drawn])
    return panels


def channel_spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """One panel an autoencoder, one thin line a channel, on common axes."""
    powers = [p for analysis in analyses for row in analysis.view("mean").channel_power for p in row if p > 0]
    panels: list[Panel] = []
    for place, analysis in enumerate(analyses):
        view, name = analysis.view("mean"), analysis.subject.name
        n = len(view.channel_power)
        with _panel(analysis.subject.name, f"power spectra of the {n} channels of {name}", panels) as axes:
            _log_log(axes, "cycles per latent cell", "mean power")
            for row in view.channel_power:
                axes.plot(view.spectrum.frequencies, row, color=colour(place), linewidth=1, alpha=max(0.25, n**-0.3))
            axes.plot(view.spectrum.frequencies, view.spectrum.power, color=INK, linewidth=1.8)
            axes.set_ylim(min(powers) / 1.5, max(powers) * 1.5)
    return panels


def mean_and_sample(analyses: Sequence[Analysis]) -> list[Panel]:
    """One panel an autoencoder: power of posterior means and of samples, on common axes."""
    powers = [p for analysis in analyses for view in analysis.views for p in view.spectrum.power if p > 0]
    panels: list[Panel] = []
    for place, analysis in enumerate(analyses):
        name = analysis.subject.name
        with _panel(name, f"power of posterior means and of samples of {name}", panels) as axes:
            _log_log(axes, "cycles per latent cell", "mean power")
            for kind, dash in DASHES.items():
                spectrum = analysis.view(kind).spectrum
                axes.plot(spectrum.frequencies, spectrum.power, color=colour(place), linestyle=dash)
            axes.set_ylim(min(powers) / 1.5, max(powers) * 1.5)
    return panels


@contextlib.contextmanager
def _panel(title: str, label: str, panels: list[Panel]) -> "Iterator[Axes]":
    """Axes to draw on; the finished panel is appended to `panels`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Two inline drawings must not share an id.
    with mpl.rc_context(STYLE | {"svg.hashsalt": f"{title}/{label}"}):
        figure = Figure(figsize=(4.4, 3.3), layout="constrained")
        axes = figure.add_subplot()
        yield axes
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    panels.append(Panel(title, label, _inline(file.getvalue())))


def _inline(svg: str) -> str:
    """An SVG document as an element of the page: its size and fonts are the page's, its colours variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
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


def _log_log(axes: "Axes", x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.xaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _power_ticks(axes.yaxis)


def _power_ticks(axis: Any, digits: tuple[int, ...] = (1,)) -> None:
    """Labels 10⁻³, 0.1, … without mathematical typesetting, which would bring its own fonts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    if 0.001 < value < 10_000:
        return f"{value:g}"
    digit, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if digit == "1" else f"{digit}·{power}"


def _draw_targets(axes: "Axes", match: SpectrumMatch, divided: bool) -> None:
    image = match.target(0.0)
    for delta in REFERENCE_DELTAS:
        target = match.target(delta)
        values = [p / q for p, q in zip(target, image, strict=True)] if divided else list(target)
        tone = INK if delta == 0 else MUTED
        axes.plot(match.frequencies, values, color=tone, linewidth=1.4 if delta == 0 else 0.9)
        axes.annotate(
            "images" if delta == 0 else f"{delta:g}",
            (match.frequencies[-1], values[-1]),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=tone,
            annotation_clip=False,
        )


def _strength_axis(axes: "Axes", analyses: Sequence[Analysis]) -> None:
    """Shares of diagonals kept, from everything on the left to the strongest low-pass on the right."""
    ticks = {}
    for analysis in analyses:
        everything = 2 * analysis.lowpass_block - 1
        for share, point in zip(_kept_shares(analysis), analysis.lowpass, strict=True):
            ticks[share] = "all" if point.keep == everything else str(point.keep)
    blocks = sorted({analysis.lowpass_block for analysis in analyses})
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.invert_xaxis()
    of = " or ".join(str(2 * block - 1) for block in blocks)
    axes.set_xlabel(f"diagonals kept, of {of}   (stronger low-pass →)")


def _kept_shares(analysis: Analysis) -> list[float]:
    return [point.keep / (2 * analysis.lowpass_block - 1) for point in analysis.lowpass]


def _line(place: int) -> dict[str, Any]:
    return {
        "color": colour(place),
        "marker": MARKERS[place % len(MARKERS)],
        "markeredgecolor": BACK,
        "markeredgewidth": 0.6,
    }


def _names(what: str, analyses: Sequence[Analysis]) -> str:
    return f"{what}: {', '.join(analysis.subject.name for analysis in analyses)}"
