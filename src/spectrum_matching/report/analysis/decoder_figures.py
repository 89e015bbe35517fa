"""Figures that need more than the latents: how the decoder responds, and the encoder to transformed images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...records.analysis import Analysis, Decoding, Transfer
from ...records.measurement import Measurement
from ..canvas import Canvas, Curve, Panel, by_row, curves, estimate, panel, plotted
from ..digits import fixed, number, spread
from ..marks import BACK, DASHED, INK, MUTED, colour, hollow, line
from ..table import distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lowpass_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the PSNR of decoded low-passed latents, and how far it falls short of an aligned decoder."""
    entries = [entry for entry in _decodings(analyses) if entry[2].lowpass]
    if not entries:
        return []
    psnrs, gaps = [], []
    most = max(decoding.diagonals for *_, decoding in entries)
    for index, name, decoding in entries:
        points, kept = decoding.lowpass, [_of(most, point.keep, decoding) for point in decoding.lowpass]
        dashed = line(index) | hollow(index) | {"linestyle": DASHED, "linewidth": 1.2, "markeredgewidth": 0.8}
        solid = line(index) | {"linestyle": "solid"}
        for key, style, entry in (("aligned", dashed, "dashed: aligned"), ("decoded", solid, name)):
            values: list[Measurement] = [getattr(point, key) for point in points]
            texts = [f"{fixed(plotted(value), 2)} {spread(value.standard_error, 2)} dB" for value in values]
            tips = [f"{name}, {key}\nkeep {p.keep}: {text}" for p, text in zip(points, texts, strict=True)]
            errors = [value.standard_error for value in values]
            psnrs.append(Curve(kept, list(map(plotted, values)), tips, style, entry, errors))
        tips = [f"{name}\nkeep {point.keep}: {_plus_minus(point.gap)} dB" for point in points]
        errors = [point.gap.standard_error for point in points]
        gaps.append(Curve(kept, [plotted(point.gap) for point in points], tips, line(index), errors=errors))
    diagonals = sorted({decoding.diagonals for *_, decoding in entries})
    x_label = f"diagonals kept, of {' or '.join(map(str, diagonals))}   (stronger low-pass →)"
    options: dict[str, Any] = {"prepare": lambda axes: _strength_axis(axes, entries, most)}
    return [
        curves("PSNR against the low-passed image", x_label, "PSNR in dB", psnrs, **options),
        curves("Aligned less decoded", x_label, "low-pass gap in dB", gaps, level=(0, MUTED), **options),
    ]


def responses(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw how the output responds to noise in the latents, and the latents to transforms of the image."""
    panels: list[Panel] = []
    psnrs, factors = list[Curve](), list[Curve]()
    strengths: set[float] = set()
    for index, name, decoding in _decodings(analyses):
        x, tip = [point.strength for point in decoding.noise], name + "\nnoise of {x} std: "
        for series, words, values in (
            (psnrs, "{y} dB", [point.psnr for point in decoding.noise]),
            (factors, "response {y}", [point.response for point in decoding.noise]),
        ):
            errors = [value.standard_error for value in values]
            series.append(Curve(x, list(map(plotted, values)), tip + words, line(index), errors=errors))
        strengths.update(x)
    if strengths:
        x_label = "noise, in standard deviations of a channel"
        options: dict[str, Any] = {"x_scale": "log", "prepare": lambda axes: _noise_axis(axes, sorted(strengths))}
        panels.append(curves("Output after noise in the latents", x_label, "PSNR in dB", psnrs, **options))
        y_label = "pixel change / latent noise"
        panels.append(curves("Response per unit of noise", x_label, y_label, factors, y_scale="log", **options))
    if any(analysis.equivariance for analysis in analyses):
        label = f"equivariance error by transform: {', '.join(analysis.subject.name for analysis in analyses)}"
        rows, series = _equivariance(analyses)
        title, x_label = "Equivariance error by transform", "error relative to the latents’ power"
        panels.append(by_row(title, x_label, rows, series, label=label, left=92, x_limits=(0, None)))
    return panels


def transfers(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the share of energy from each band of the latents in each band of the output, one panel each."""
    panels: list[Panel] = []
    for index, name, decoding in _decodings(analyses):
        if decoding.transfer:
            with panel(name, f"shares of output bands by latent band, {name}", panels, height=260) as canvas:
                _draw_transfer(canvas, decoding.transfer, index)
    return panels


def _equivariance(analyses: Sequence[Analysis]) -> tuple[list[str], list[Curve]]:
    """Return a row for each transform and resampler, and in it a stem and a mark for each autoencoder."""
    entries = [(index, analysis) for index, analysis in enumerate(analyses) if analysis.equivariance]
    points = [
        (order, index, analysis.subject.name, ", ".join(filter(None, (point.transform, point.resampler))), point.error)
        for order, (index, analysis) in enumerate(entries)
        for point in analysis.equivariance
    ]
    rows, series = distinct(row for *_, row, _ in points), []
    for order, index, name, row, error in points:
        y, value = rows.index(row) + (order - (len(entries) - 1) / 2) * 0.7 / len(entries), plotted(error)
        series.append(Curve([0, value], [y, y], "", {"color": colour(index), "linewidth": 1, "alpha": 0.35}))
        series += estimate(value, error.standard_error, y, f"{name}\n{row}: {_plus_minus(error)}", index, markersize=5)
    return rows, series


def _draw_transfer(canvas: Canvas, transfer: Transfer, index: int) -> None:
    from matplotlib.patches import Rectangle

    axes, n = canvas.axes, len(transfer.frequencies)
    edges = [fixed(f, 2) for f in transfer.frequencies]
    canvas.columns = ("band of the latents", "band of the output", "share")
    outputs = [*edges, "beyond"]
    sources = [f"of energy in latents up to {edge} cycles per position" for edge in edges]
    sources.append("of a decoder that spreads evenly")
    ys = [*range(n), n + 0.5]  # the even decoder below a gap of half a row
    for y, source, shares in zip(ys, sources, (*transfer.shares, transfer.even), strict=True):
        for x, share in enumerate(shares):
            strength = min(1.0, max(share, 0.0)) ** 0.7
            tone = colour(index) if y < n else MUTED
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=tone, alpha=strength, linewidth=0))
            if round(100 * share) and n <= 12:
                ink = BACK if strength > 0.75 else INK
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
            where = f"up to {outputs[x]}" if x < n else "beyond them"
            canvas.tip(x, y, f"{source}\n{100 * share:.1f} % comes out {where}")
            canvas.datum(edges[round(y)] if y < n else "even", outputs[x], float(share))
    for x in range(n):
        axes.add_patch(Rectangle((x - 0.5, x - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.9))
    axes.set_xlim(-0.5, n + 0.5)
    axes.set_ylim(n + 1, -0.5)
    axes.set_xticks(range(n + 1), outputs, fontsize=8.5)
    axes.set_yticks(ys, [*edges, "even"], fontsize=8.5)
    axes.set_xlabel("band of the output, up to cycles per position")
    axes.set_ylabel("band of the latents")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _decodings(analyses: Sequence[Analysis]) -> list[tuple[int, str, Decoding]]:
    return [(index, a.subject.name, a.decoding) for index, a in enumerate(analyses) if a.decoding]


def _of(most: int, keep: int, decoding: Decoding) -> float:
    """Return the diagonals kept as if a block had `most`: `keep` itself where all autoencoders have the same block."""
    return keep * most / decoding.diagonals


def _strength_axis(axes: "Axes", entries: Sequence[tuple[int, str, Decoding]], most: int) -> None:
    """Mark the diagonals kept, from all on the left to the strongest low-pass on the right."""
    ticks = {}
    for *_, decoding in entries:
        for point in decoding.lowpass:
            ticks[_of(most, point.keep, decoding)] = "all" if point.keep == decoding.diagonals else str(point.keep)
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.invert_xaxis()


def _noise_axis(axes: "Axes", strengths: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xticks(strengths, [f"{strength:g}" for strength in strengths])
    axes.xaxis.set_minor_locator(NullLocator())


def _plus_minus(measurement: Measurement) -> str:
    return f"{number(plotted(measurement))} ± {number(measurement.standard_error or 0.0, 2)}"
