"""The unified view as sections of a page: each side's change against the control, and the curves it is read from."""

import statistics
from collections.abc import Callable, Sequence

from ...metrics.ranks import chance_apart
from ...report.canvas import MUTED, Canvas, Panel, line, method_line, number_at, panel
from ...report.digits import decimals, fixed, number
from ...report.study_page import Block, StudyTable
from ...report.table import Cell, Column, Table
from ...spectrum.bands import Variant
from .record import Change, MethodReading, Quantity, SeedReading, UnifiedView, Word

GLYPHS: dict[Word, str] = {"acts": "▲ acts", "does not": "▼ does not", "higher": "△", "lower": "▽", "undecided": "="}
VARIANTS: dict[Variant, str] = {"scale_free": "scale-free", "paper": "the paper’s"}
DASHES_SAID = "lines of 9 to 16 are dashed, later ones dotted"


def unified_lead(study: UnifiedView) -> tuple[str, ...]:
    """Who acts on which side, and how often luck alone would say so."""
    n = {len(method.seeds) for method in study.methods}
    said = [
        f"{len(study.methods)} methods from {_counts(n)} each, held against {study.control}, on {study.images}.",
        f"Encoding side, gap to the target at delta {study.delta:g}, scale-free: {_who(study, 'gap_scale_free')}",
        f"Decoding side, low-pass gap, mean over keep: {_who(study, 'lowpass_gap')}",
    ]
    acting = [method for method in _others(study) if method.change("lowpass_gap").word == "acts"]
    worse = [method.name for method in acting if method.change("psnr").word == "lower"]
    if worse:
        said.append(f"Of these {_listed(worse)} reconstruct worse in every seed, which narrows the gap by itself.")
    sizes = {(len(study.of(study.control).seeds), len(method.seeds)) for method in _others(study)}
    chances = sorted({chance_apart(a, b) for a, b in sizes if min(a, b) > 1})
    if chances:
        text = " or ".join(f"{chance.numerator} of {chance.denominator}" for chance in chances)
        n_words = 2 * len(_others(study))
        by_luck = f"{float(min(chances)) * n_words:.0f}" + (
            f" to {float(max(chances)) * n_words:.0f}" if len(chances) > 1 else ""
        )
        said.append(
            f"A method acts where every seed of it matches better than every seed of the control. Were a method no "
            f"different from the control, luck alone would still part the two in {text} cases: about {by_luck} of "
            f"the {n_words} words above."
        )
    return tuple(said)


def unified_blocks(study: UnifiedView) -> tuple[Block, ...]:
    """The sections."""
    extra = DASHES_SAID if len(study.methods) > 8 else ""
    psnr = _quantity(study, "psnr")
    gap = _quantity(study, "lowpass_gap")
    sides = [_scatter(study, _quantity(study, f"gap_{variant}"), gap) for variant in VARIANTS]
    return (
        Block(
            "Which side each acts on",
            (
                "Change against the mean of the control, a point a seed, the number at a method’s mean. Left of the "
                "upright line, latents are closer to the flattened images; below the level one, the decoder makes of "
                "low-passed latents more nearly what low-passing its own output gives. Spectrum matching on both sides "
                "is the lower left.",
                "A low-pass gap also falls where reconstructions get worse: hence the third panel.",
            ),
            (*sides, _scatter(study, psnr, gap)),
            (StudyTable("Change against the control", change_table(study), "method", _legend(), dense=True),),
            extra=extra,
            numbered=True,
        ),
        Block(
            "Encoding side",
            (
                "KL from the images’ bands, flattened by delta, to the latents’: where a curve is lowest is the "
                "flattening that the latents are closest to. Bold: mean over seeds; each seed is a thin line.",
            ),
            tuple(_gaps(study, variant) for variant in VARIANTS),
            extra=extra,
            numbered=True,
        ),
        Block(
            "Decoding side",
            (
                f"Latents low-passed to so many diagonals of blocks of {study.block} cells, decoded, against images "
                "low-passed alike; and how far that falls short of low-passing the decoder’s own output.",
            ),
            (
                _lowpass(study, "PSNR of decoded low-passed latents", "PSNR in dB", lambda seed: seed.decoded),
                _lowpass(study, "Aligned less decoded", "low-pass gap in dB", lambda seed: seed.gaps),
            ),
            (StudyTable("Every seed", seed_table(study), "method", folded=True, dense=True),),
            extra=extra,
            numbered=True,
        ),
    )


def change_table(study: UnifiedView) -> Table:
    """Mean change ± half the range over seeds, and the word; of the control its value."""
    columns = tuple(map(_column, study.quantities))
    rows = []
    for place, method in enumerate(study.methods):
        rows.append((place, tuple(_cell(study, method, method.change(q.key)) for q in study.quantities)))
    return Table(columns, tuple(rows))


def _column(quantity: Quantity) -> Column:
    title, _, variant = quantity.title.partition(", ")
    side = "" if quantity.side == "neither" else quantity.side
    return Column(title, " · ".join(filter(None, (variant, side, quantity.unit))))


def seed_table(study: UnifiedView) -> Table:
    """Every seed's values."""
    columns = (
        Column("weights", is_text=True),
        *map(_column, study.quantities),
    )
    rows = []
    for place, method in enumerate(study.methods):
        for at, seed in enumerate(method.seeds):
            values = [method.change(quantity.key).values[at] for quantity in study.quantities]
            rows.append((place, (Cell(seed.digest), *(Cell(number(value, 4), "", value) for value in values))))
    return Table(columns, tuple(rows))


def _cell(study: UnifiedView, method: MethodReading, change: Change) -> Cell:
    n = decimals(change.mean, change.half_range or None)
    half = f"± {fixed(change.half_range, n)}" if len(change.values) > 1 else ""
    if method.name == study.control:
        value = statistics.mean(change.values)
        n = n if change.half_range else decimals(value, None)
        return Cell(fixed(value, n), " ".join(filter(None, (half, "the control"))), 0.0)
    sign = "+" if change.mean > 0 and fixed(change.mean, n).strip("0.,") else ""
    return Cell(sign + fixed(change.mean, n), " ".join(filter(None, (half, GLYPHS[change.word]))), change.mean)


def _legend() -> str:
    return (
        "Change of the mean over seeds ± half the range; the control’s row has its values. ▲ acts: every seed matches "
        "better than every seed of the control; ▼ does not: every seed matches worse; △ higher, ▽ lower where neither "
        "is better; = undecided, as seeds overlap or are too few."
    )


def _scatter(study: UnifiedView, x: Quantity, y: Quantity) -> Panel:
    panels: list[Panel] = []
    names = ", ".join(method.name for method in study.methods)
    label = f"change of {y.title} over change of {x.title}, a point a seed: {names}"
    with panel(f"{y.title.split(',')[0]} over {x.title}", label, panels, right=16) as canvas:
        axes = canvas.axes
        axes.set_xlabel(f"change of {x.title.split(',')[0]}, {x.unit}")
        axes.set_ylabel(f"change of {y.title.split(',')[0]}, {y.unit}")
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        axes.ticklabel_format(useOffset=False)
        axes.locator_params("x", nbins=6)
        axes.margins(0.1)
        for place, method in enumerate(study.methods):
            across, up = method.change(x.key), method.change(y.key)
            for at, (one, other) in enumerate(zip(across.changes, up.changes, strict=True)):
                axes.plot([one], [other], **line(place) | {"linestyle": "none", "markersize": 6})
                told = f"{x.title} {_signed(one)}, {y.title} {_signed(other)}"
                canvas.tip(one, other, f"{method.name}, seed {at + 1} of {len(across.changes)}\n{told}")
            number_at(axes, place, (across.mean, up.mean))
    return panels[0]


def _gaps(study: UnifiedView, variant: Variant) -> Panel:
    panels: list[Panel] = []
    title = f"Gap over delta, {VARIANTS[variant]}"
    names = ", ".join(method.name for method in study.methods)
    with panel(title, f"{title}: {names}", panels) as canvas:
        canvas.axes.set_yscale("log")
        canvas.axes.set_xlabel("delta")
        canvas.axes.set_ylabel("gap in nats")
        canvas.axes.axvline(study.delta, color=MUTED, linewidth=0.9)
        for place, method in enumerate(study.methods):
            curves = [seed.curve(variant).gaps for seed in method.seeds]
            _curves(canvas, place, method, study.deltas, curves, "delta {x}: gap {y}")
    return panels[0]


def _lowpass(study: UnifiedView, title: str, unit: str, of: Callable[[SeedReading], Sequence[float]]) -> Panel:
    panels: list[Panel] = []
    names = ", ".join(method.name for method in study.methods)
    with panel(title, f"{title}: {names}", panels) as canvas:
        axes = canvas.axes
        axes.set_ylabel(unit)
        for place, method in enumerate(study.methods):
            curves = [of(seed) for seed in method.seeds]
            _curves(canvas, place, method, study.keeps, curves, "keep {x}: {y} dB")
        axes.set_xticks(study.keeps, [str(keep) for keep in study.keeps])
        axes.set_xlim(max(study.keeps) + 0.3, min(study.keeps) - 0.3)
        axes.set_xlabel(f"diagonals kept, of {2 * study.block - 1}   (stronger low-pass →)")
    return panels[0]


def _curves(
    canvas: Canvas, place: int, method: MethodReading, x: Sequence[float], curves: Sequence[Sequence[float]], told: str
) -> None:
    options = method_line(place) | {"marker": "" if len(x) > 8 else method_line(place)["marker"]}
    if len(curves) > 1:
        for curve in curves:
            canvas.axes.plot(x, curve, **options | {"linewidth": 0.8, "alpha": 0.45, "marker": ""})
    mean = [statistics.mean(values) for values in zip(*curves, strict=True)]
    canvas.line(x, mean, f"{method.name}\n{told}", **options)


def _who(study: UnifiedView, key: str) -> str:
    """ "acts: A, B; does not, but moves away: C; undecided: D."."""
    words: dict[Word, str] = {"acts": "acts", "does not": "does not, but moves away", "undecided": "undecided"}
    found = {word: [m.name for m in _others(study) if m.change(key).word == word] for word in words}
    return "; ".join(f"{words[word]}: {_listed(names)}" for word, names in found.items() if names) + "."


def _listed(names: Sequence[str]) -> str:
    """With commas between; a name that has one itself stands in quotes."""
    return ", ".join(f"“{name}”" if "," in name else name for name in names)


def _others(study: UnifiedView) -> list[MethodReading]:
    return [method for method in study.methods if method.name != study.control]


def _quantity(study: UnifiedView, key: str) -> Quantity:
    return next(quantity for quantity in study.quantities if quantity.key == key)


def _counts(n: set[int]) -> str:
    low, high = min(n), max(n)
    return f"{low} seed{'s' * (low > 1)}" if low == high else f"{low} to {high} seeds"


def _signed(value: float) -> str:
    return f"{'+' * (value > 0)}{number(value)}"
