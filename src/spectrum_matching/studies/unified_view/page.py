"""The unified view as sections of a page: changes against the control on each side, and the curves behind them."""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from ...files.names import listed
from ...metrics.latents.spectra import BEST_DELTA
from ...metrics.pooled import FAMILY_WISE
from ...report.canvas import Curve, Panel, curves, number_at, panel
from ...report.digits import bound, decimals, fixed, number
from ...report.marks import MUTED, line
from ...report.study_page import Block, StudyTable, render_study
from ...report.table import MISSING, Cell, Column, Table
from ...spectrum.bands import Variant
from .record import VARIANTS, Change, MethodResult, Quantity, SeedResult, UnifiedView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GLYPHS = {"acts": "▲ acts", "worse": "▼ worse", "higher": "△", "lower": "▽", "undecided": "="}
LEGEND = (
    "Change of the mean over seeds ± half the range; the control’s row has its values. ▲ acts: matches significantly "
    "better than the control; ▼ worse: significantly worse; △ significantly higher, ▽ lower where neither is better; "
    "= undecided."
)


def unified_page(study: UnifiedView) -> str:
    """Return the page."""
    title, names = "Which side of spectrum matching each method acts on", [method.name for method in study.methods]
    settings = [("measured on", study.images), ("latents", " × ".join(map(str, study.latent_shape)))]
    return render_study(study, title, unified_lead(study), _blocks(study), names, settings)


def unified_lead(study: UnifiedView) -> list[str]:
    """Return who acts on which side, and how often chance alone would say so."""
    methods = [method for method in study.methods if method.name != study.control]
    n_seeds, n_control = [len(method.seeds) for method in study.methods], len(study.of(study.control).seeds)
    words = {"acts": "acts", "worse": "matches worse", "undecided": "undecided"}

    def who(key: str) -> str:
        names = {word: [m.name for m in methods if m.change(key).word == word] for word in words}
        return "; ".join(f"{words[word]}: {listed(those)}" for word, those in names.items() if those) + "."

    lead = [
        f"{len(study.methods)} methods from {_range(n_seeds)} seed{'s' * (max(n_seeds) > 1)} each, compared with "
        f"{study.control}, on {study.images}.",
        f"Encoding side, gap to the target at delta {study.delta:g}, scale-free: {who('gap_scale_free')}",
        f"Decoding side, low-pass gap, mean over keep: {who('lowpass_gap')}",
    ]
    acting = [method for method in methods if method.change("lowpass_gap").word == "acts"]
    if worse := [method.name for method in acting if method.change("psnr").word == "lower"]:
        lead.append(f"Of these {listed(worse)} reconstruct worse, which narrows the gap by itself.")
    if n_control > 1 and max(len(method.seeds) for method in methods) > 1:
        lead.append(
            f"A method acts if it matches better than the control by a t test with the variance over seeds pooled over "
            f"all methods, Holm-corrected over the methods: if none differs from the control, and all vary alike over "
            f"seeds, the probability that a side names any is at most {FAMILY_WISE:.0%}."
        )
    return lead


def _blocks(study: UnifiedView) -> tuple[Block, ...]:
    quantities = {quantity.key: quantity for quantity in study.quantities}
    gap = quantities["lowpass_gap"]
    paper = [quantity for quantity in study.quantities if quantity.key.endswith("_paper")]
    main = [quantity for quantity in study.quantities if quantity not in paper]

    def section(heading: str, text: Sequence[str], panels: Sequence[Panel], *tables: StudyTable) -> Block:
        return Block(heading, tuple(text), tuple(panels), tables, numbered=True)

    return (
        section(
            "Which side each acts on",
            (
                "Change against the mean of the control, a point for each seed, the number at a method’s mean. Left of "
                "the vertical line, latents are closer to the flattened images; below the horizontal line, the decoder "
                "turns low-passed latents more nearly into its low-passed output. Spectrum matching on both sides is "
                "the lower left.",
                "A low-pass gap also falls where reconstructions get worse: hence the third panel.",
            ),
            [_scatter(study, quantities[key], gap) for key in (*(f"gap_{variant}" for variant in VARIANTS), "psnr")],
            StudyTable("Change against the control", change_table(study, main), "method", LEGEND, dense=True),
            StudyTable(
                "The same by the paper’s variant", change_table(study, paper), "method", folded=True, dense=True
            ),
        ),
        section(
            "Encoding side",
            (
                "KL from the images’ bands, flattened by delta, to the latents’: the latents are closest to the "
                "flattening where a curve has its minimum. Bold: mean over seeds; thin: each seed.",
            ),
            [_gaps(study, variant) for variant in VARIANTS],
        ),
        section(
            "Decoding side",
            (
                f"Decoded low-passed latents (diagonals kept of blocks of {study.block} positions) against images with "
                "the same low-pass; and how far that falls short of low-passing the decoder’s own output.",
            ),
            [
                _lowpass(study, "PSNR of decoded low-passed latents", "PSNR in dB", lambda seed: seed.decoded),
                _lowpass(study, "Aligned minus decoded", "low-pass gap in dB", lambda seed: seed.gaps),
            ],
        ),
    )


def change_table(study: UnifiedView, quantities: Sequence[Quantity]) -> Table:
    """Return the mean change ± half the range over seeds, with the outcome; for the control its value."""
    columns = []
    for quantity in quantities:
        title, _, variant = quantity.title.partition(", ")
        side = "" if quantity.side == "neither" else quantity.side
        columns.append(Column(title, _lines(variant, side, quantity.unit)))
    rows = [tuple(_cell(study, m, m.change(quantity.key)) for quantity in quantities) for m in study.methods]
    return Table(tuple(columns), tuple(enumerate(rows)))


def _lines(*parts: str) -> str:
    """Return parts that are not empty, separated by points, after which alone a line may break."""
    return "\u00a0· ".join(part.replace(" ", "\u00a0") for part in parts if part)


def _cell(study: UnifiedView, method: MethodResult, change: Change) -> Cell:
    n = decimals(change.mean, change.half_range or None)
    is_control, control = method.name == study.control, study.of(study.control).change(change.key).values
    end: str | None = ""
    if change.key.startswith(BEST_DELTA.key):
        end = bound(BEST_DELTA, change.values, () if is_control else control)
    n = 2 if end else n  # as an end of the range is printed everywhere
    half = f"± {fixed(change.half_range, n)}" if len(change.values) > 1 and end == "" else ""
    under = " ".join(filter(None, (half, "the control" if is_control else GLYPHS[change.word])))
    if end is None:
        return Cell(MISSING.value, under)
    if is_control:
        value = mean(change.values)
        return Cell(end + fixed(value, n if change.half_range or end else decimals(value, None)), under, 0.0)
    sign = "+" if change.mean > 0 and fixed(change.mean, n).strip("0.,") else ""
    return Cell(end + sign + fixed(change.mean, n), under, change.mean)


def _scatter(study: UnifiedView, x: Quantity, y: Quantity) -> Panel:
    panels: list[Panel] = []
    names = listed(method.name for method in study.methods)
    label = f"change of {y.title} over change of {x.title}, a point for each seed: {names}"
    with panel(f"{y.title.split(',')[0]} over {x.title}", label, panels, right=16) as canvas:
        axes = canvas.axes
        axes.set_xlabel(f"change of {x.title.split(',')[0]}, {x.unit}")
        axes.set_ylabel(f"change of {y.title.split(',')[0]}, {y.unit}")
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.ticklabel_format(useOffset=False)
        axes.locator_params("x", nbins=6)
        axes.margins(0.1)
        for i, method in enumerate(study.methods):
            across, up = method.change(x.key), method.change(y.key)
            for seed, point in enumerate(zip(across.changes, up.changes, strict=True), 1):
                style = line(i) | {"linestyle": "none", "markersize": 6}
                axes.plot(*([value] for value in point), **style)
                canvas.entry(f"{i + 1} {method.name}", style)
                numbers = f"{x.title} {_signed(point[0])}, {y.title} {_signed(point[1])}"
                name = f"{method.name}, seed {seed} of {len(across.changes)}"
                canvas.tip(*point, f"{name}\n{numbers}")
                canvas.datum(name, *point)
            number_at(axes, i, (across.mean, up.mean))
    return panels[0]


def _gaps(study: UnifiedView, variant: Variant) -> Panel:
    def mark_delta(axes: "Axes") -> None:
        axes.axvline(study.delta, color=MUTED, linewidth=0.9)

    title, tip = f"Gap over delta, {VARIANTS[variant]}", "delta {x}: gap {y}"
    series = _over_seeds(study, study.deltas, lambda seed: seed.curve(variant).gaps, tip)
    return curves(title, "delta", "gap in nats", series, y_scale="log", prepare=mark_delta)


def _lowpass(study: UnifiedView, title: str, unit: str, of: Callable[[SeedResult], Sequence[float]]) -> Panel:
    def ticks(axes: "Axes") -> None:
        axes.set_xticks(study.keeps, [str(keep) for keep in study.keeps])
        axes.set_xlim(max(study.keeps) + 0.3, min(study.keeps) - 0.3)

    x_label = f"diagonals kept, of {2 * study.block - 1}   (stronger low-pass →)"
    return curves(title, x_label, unit, _over_seeds(study, study.keeps, of, "keep {x}: {y} dB"), prepare=ticks)


def _over_seeds(
    study: UnifiedView, x: Sequence[float], of: Callable[[SeedResult], Sequence[float]], tip: str
) -> list[Curve]:
    """Return a bold line for the mean over seeds of each method, and a thin one for each of several seeds."""
    series = []
    for i, method in enumerate(study.methods):
        style = line(i) | ({"marker": ""} if len(x) > 8 else {})
        lines = [of(seed) for seed in method.seeds]
        if len(lines) > 1:
            series += [Curve(x, y, "", style | {"linewidth": 0.8, "alpha": 0.45, "marker": ""}) for y in lines]
        average = [mean(values) for values in zip(*lines, strict=True)]
        series.append(Curve(x, average, f"{method.name}\n{tip}", style))
    return series


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _signed(value: float) -> str:
    return f"{'+' * (value > 0)}{number(value)}"
