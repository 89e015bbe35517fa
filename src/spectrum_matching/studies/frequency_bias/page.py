"""The frequency bias as sections of a page: tables of cases and bands, numbers by band, by update, and perception."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from ...files.names import listed
from ...report.canvas import Curve, Panel, curves
from ...report.digits import fixed
from ...report.marks import INK, MUTED, line
from ...report.study_page import Block, StudyTable, render_study
from ...report.table import Cell, Column, Table
from .record import Band, Case, FrequencyBias, InjectedErrors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CASE_COLUMNS: tuple[tuple[Column, int, Callable[[Case], float | None]], ...] = (
    (Column("half", "lowest band"), 0, lambda case: case.bands[0].half),
    (Column("half", "highest"), 0, lambda case: case.bands[-1].half),
    (Column("ρ", "of half"), 2, lambda case: case.rank_correlation.half),
    (Column("left", "lowest band"), 3, lambda case: case.bands[0].final_loss - case.bands[0].wiener_loss),
    (Column("left", "highest"), 3, lambda case: case.bands[-1].final_loss - case.bands[-1].wiener_loss),
    (Column("over Wiener", "lowest band"), 2, lambda case: case.bands[0].ratio.value),
    (Column("over Wiener", "highest"), 2, lambda case: case.bands[-1].ratio.value),
    (Column("ρ", "over Wiener"), 2, lambda case: case.rank_correlation.ratio),
    (Column("over Wiener", "all, middle t"), 2, lambda case: case.levels[len(case.levels) // 2].over_wiener),
    (Column("by CSF", "all, middle t"), 2, lambda case: case.levels[len(case.levels) // 2].csf_over_wiener),
)

ORDERED = 0.5
"""Rank correlation of the updates to half with frequency from which a case counts as learned in the order of bands."""

FEW = 3
"""Cases without an order up to which all are named."""


def frequency_page(study: FrequencyBias) -> str:
    """Return the page."""
    settings = [("the plan", "; ".join(f"{key} {value}" for key, value in asdict(study.plan).items()))]
    title = "The frequency bias of diffusion training"
    return render_study(study, title, [*findings(study), *_setting(study)], _blocks(study), study.names, settings)


def findings(study: FrequencyBias) -> list[str]:
    """Return which cases are learned in the order of frequency, and how well the highest band is learned."""
    order = {"low bands first": 1, "high bands first": -1, "in neither order": 0}
    cases = {words: [n for n in study.names if _order(study.of(n)) == sign] for words, sign in order.items()}
    said = {words: listed(names) for words, names in cases.items() if names}
    if len(rest := cases["in neither order"]) > FEW:
        said["in neither order"] = f"{len(rest)} cases{', images among them' if 'images' in rest else ''}"
    found = [
        f"Learned {'; '.join(f'{words}: {names}' for words, names in said.items())}. An order counts from a rank "
        f"correlation of {ORDERED:g} between a band’s frequency and the updates until half of it is learned, in every "
        f"seed."
    ]
    ratios = {name: [case.bands[-1].ratio.value for case in study.of(name)] for name in ("images", "white noise")}
    known = [
        f"{' and '.join(fixed(value, 2) for value in values if value is not None)} for {name}"
        for name, values in ratios.items()
        if values and None not in values
    ]
    if known:
        found.append(f"Final error in the highest band over that of the best linear denoiser: {', '.join(known)}.")
    return found


def _order(cases: Sequence[Case]) -> int:
    """Return 1 where every seed learns low bands first, −1 where every seed learns high bands first, else 0."""
    correlations = [case.rank_correlation.half for case in cases]
    for sign in (1, -1):
        if all(rho is not None and sign * rho >= ORDERED for rho in correlations):
            return sign
    return 0


def _setting(study: FrequencyBias) -> tuple[str, ...]:
    plan, first, n, n_names = study.plan, study.cases[0], len(study.cases), len(study.names)
    return (
        f"{plan.name}: {n} training{'s' * (n > 1)} of {n_names} case{'s' * (n_names > 1)}. Each is a denoiser "
        f"({first.n_parameters:,} parameters for {first.space}) after {plan.steps:,} updates on {plan.n_train:,} "
        f"fields; errors are of {plan.n_test} held-out ones with the same noise at every evaluation.",
        "A band is a ring of the DCT. An error is that of x̂, the estimate of the clean field at noise level t (0 data, "
        "1 noise). Wiener is the best denoiser that is linear and treats each DCT coefficient by itself, all channels "
        "jointly: for Gaussian fields no denoiser is better.",
    )


def _blocks(study: FrequencyBias) -> tuple[Block, ...]:
    def section(heading: str, text: str, panels: Sequence[Panel]) -> Block:
        return Block(heading, (text,), tuple(panels), numbered=True)

    blocks = [
        Block(
            "Side by side",
            (
                "ρ: Spearman’s rank correlation with frequency over the bands of one training: 1 where every higher "
                "band has more of it, −1 where every higher band has less, – where bands differ by less than a tenth. "
                "Half: updates until half of what a band’s loss falls by is gone. Left: squared error of the "
                "prediction less Wiener’s, per coefficient; over Wiener: squared error of x̂ over Wiener’s, geometric "
                "mean over noise levels. First seed; the others stand below it.",
                "Weighted by CSF: errors weighted by the squared contrast sensitivity of Mannos and Sakrison (1974) at "
                f"{study.plan.pixels_per_degree:g} pixels per degree, the tilt of a spectrum undone. Where this is "
                "below the number before it, what training has not learned is less visible than other errors.",
            ),
            tables=(StudyTable("Every case", case_table(study), "case", dense=True),),
        ),
        section(
            "Spectra of the data",
            "Mean power per coefficient of the held-out data, all of unit variance: white noise lies at 1 (the line). "
            "Dotted, here and below: waves faster than that lie within one token of the network. A sample is a "
            "pixel of an image, or a position of latents, which is many pixels wide: the same place on the axis is "
            "not the same frequency.",
            by_band(study, "mean power, white: 1", lambda band: band.power, "power {y}", level=1),
        ),
        section(
            "Which bands are learned first",
            "Updates until half of what the loss in a band falls by is gone. A rising line: low bands first; a falling "
            "one: high bands first. In a band without a point nothing was learned.",
            by_band(study, "updates to half", lambda band: band.half, "half after {y} updates"),
        ),
        section(
            "Which bands are learned best",
            "Final error over Wiener’s, geometric mean over noise levels. 1 (the line) is what the spectrum alone "
            "allows. Wiener’s error is small where power is small: what is left to learn may be many times it and yet "
            "little; the first table has it in absolute terms.",
            by_band(study, "final error / Wiener’s", lambda band: band.ratio.value, "{y} times", level=1),
        ),
        section(
            "Error relative to power",
            "Final error over the power of the band, mean over noise levels: 0 is perfect, 1 no better than the mean.",
            by_band(study, "final error / power", lambda band: band.final_error, "{y} of its power"),
        ),
        section(
            "Generated spectra",
            f"Power by band of {study.plan.samples} generated fields (Heun, {study.plan.sampling_steps} steps) over "
            "that of fields generated with the same sampler by the best linear denoiser, which knows the spectrum of "
            "the training data: 0 dB is right, above it too much, below it too little.",
            by_band(study, "power / Wiener’s, dB", _sampled, "{y} dB", "linear", level=0),
        ),
    ]
    if study.injected:
        text = (
            f"Random errors in one band at a time of {study.injected.n_images} images, all of RMS "
            f"{study.injected.rms:g} in a range of 2, images at {study.injected.contrast:g} of their contrast so that "
            "nothing is clipped. ↑ higher is better, ↓ lower. ρ: rank correlation of the damage with frequency; −1 "
            "where a metric forgives every higher band more."
        )
        blocks.append(Block("Equal errors, band by band", (text,), tuple(metric_figures(study.injected)), key=()))
    return tuple(blocks)


def case_table(study: FrequencyBias) -> Table:
    """Return a row for each case: the first seed, and the others below it."""
    cases = map(study.of, study.names)
    rows = (tuple(_over_seeds(map(of, seeds), digits) for _, digits, of in CASE_COLUMNS) for seeds in cases)
    return Table(tuple(column for column, _, _ in CASE_COLUMNS), tuple(enumerate(rows)))


def by_band(
    study: FrequencyBias,
    what: str,
    of: Callable[[Band], float | None],
    tip: str,
    y_scale: Literal["log", "linear"] = "log",
    level: float | None = None,
) -> list[Panel]:
    """Draw a number over the frequency of the band, a panel for each group of cases and a line for each seed.

    level: of a horizontal line. Dotted and vertical: the highest frequencies that tokens tell apart.
    """

    def curve(case: Case) -> Curve:
        values = [math.nan if (value := of(band)) is None else value for band in case.bands]
        name = f"{case.name}, seed {case.seed}\n{{x}} cycles per sample: {tip}"
        style = line(study.names.index(case.name)) | {"markersize": 3.2}
        return Curve([band.frequency for band in case.bands], values, name, style, case.name)

    def mark_tokens(axes: "Axes") -> None:
        for patch in {int(case.denoiser.rpartition("/")[2]) for case in study.cases}:
            axes.axvline(0.5 / patch, color=MUTED, linewidth=1, linestyle=":")

    lines = {name: [curve(case) for case in study.of(name)] for name in study.names}
    values = [y for curves in lines.values() for curve in curves for y in curve.y if math.isfinite(y)]
    low, high = min(values, default=1.0), max(values, default=1.0)
    limits = (low / 1.15, high * 1.15) if y_scale == "log" else (low - 0.5, high + 0.5)
    style: dict[str, Any] = {"x_scale": "frequency", "y_scale": y_scale, "y_limits": limits, "prepare": mark_tokens}
    style |= {"level": None if level is None else (level, INK)}
    members = {title: [curve for name in names for curve in lines[name]] for title, names in groups(study)}
    return [curves(title, "cycles per sample", what, series, **style) for title, series in members.items()]


def groups(study: FrequencyBias) -> list[tuple[str, list[str]]]:
    """Return the titles and cases of the panels; each has the plain images, and at least one case beside them."""
    control = [name for name in study.names if name == "images"]
    prefixes = {
        "Images, spectrum tilted": ("images, delta",),
        "Gaussian fields": ("Gaussian", "white"),
        "Other losses and predictions": ("loss", "predicts"),
        "Latents": ("latents",),
    }
    members = [(title, [name for name in study.names if name.startswith(p)]) for title, p in prefixes.items()]
    return [(title, control + names) for title, names in members if names] or [("Images", control)]


def metric_figures(injected: InjectedErrors) -> list[Panel]:
    """Draw each metric of equal errors over the band that they are in."""
    panels = []
    for i, metric in enumerate(injected.metrics):
        rho = "–" if metric.correlation is None else fixed(metric.correlation, 2)
        curve = Curve(injected.frequencies, metric.values, f"{metric.metric}\n{{x}} cycles per pixel: {{y}}", line(i))
        title = f"{metric.metric} {'↑' if metric.better == 'higher' else '↓'} ρ = {rho}"
        # Of equal values the axis would show nothing but their rounding.
        limits = (metric.values[0] - 1, metric.values[0] + 1) if metric.is_flat else None
        panels.append(curves(title, "cycles per pixel", metric.unit or metric.metric, [curve], y_limits=limits))
    return panels


def _sampled(band: Band) -> float | None:
    if band.sampled_decibels is None or band.wiener_sampled_decibels is None:
        return None
    return band.sampled_decibels - band.wiener_sampled_decibels


def _over_seeds(values: Iterable[float | None], decimals: int) -> Cell:
    first, *others = values
    text, *others_text = ("–" if value is None else fixed(value, decimals) for value in (first, *others))
    return Cell(text, ", ".join(others_text), first)
