"""Figures of what needs more than the latents: the decoder's answers, the encoder's to moves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...records.analysis import Analysis, Decoding, Transfer
from ..canvas import BACK, DASHED, INK, MUTED, Canvas, Panel, colour, line, panel
from ..digits import fixed, number, spread
from ..table import distinct

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Placed = tuple[int, Analysis, Decoding]


def lowpass_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """PSNR of decoded low-passed latents, and how far it falls short of an aligned decoder."""
    drawn = [entry for entry in _decodings(analyses) if entry[2].lowpass]
    panels: list[Panel] = []
    if not drawn:
        return panels
    with panel("PSNR against the low-passed image", _names("PSNR over low-pass strength", drawn), panels) as canvas:
        canvas.axes.set_ylabel("PSNR in dB")
        for place, analysis, decoding in drawn:
            x, name = _kept_shares(decoding), analysis.subject.name
            aligned = [float(point.aligned) for point in decoding.lowpass]
            canvas.axes.plot(x, aligned, color=colour(place), linestyle=DASHED, linewidth=1.2)
            decoded = [float(point.decoded) for point in decoding.lowpass]
            canvas.axes.plot(x, decoded, **line(place))
            for at, point in zip(x, decoding.lowpass, strict=True):
                for how, estimate in (("aligned", point.aligned), ("decoded", point.decoded)):
                    written = f"{fixed(float(estimate), 2)} {spread(estimate.standard_error, 2)} dB"
                    said = f"{name}\nkeep {point.keep}, {how}: {written}"
                    canvas.tip(at, float(estimate), said)
        _strength_axis(canvas.axes, drawn)
    with panel("Aligned less decoded", _names("low-pass gap over strength", drawn), panels) as canvas:
        canvas.axes.set_ylabel("low-pass gap in dB")
        canvas.axes.axhline(0, color=MUTED, linewidth=0.8)
        for place, analysis, decoding in drawn:
            x = _kept_shares(decoding)
            canvas.axes.plot(x, [float(point.gap) for point in decoding.lowpass], **line(place))
            for at, point in zip(x, decoding.lowpass, strict=True):
                said = (
                    f"keep {point.keep}: {number(float(point.gap))} ± {number(point.gap.standard_error or 0.0, 2)} dB"
                )
                canvas.tip(at, float(point.gap), f"{analysis.subject.name}\n{said}")
        _strength_axis(canvas.axes, drawn)
    return panels


def responses(analyses: Sequence[Analysis]) -> list[Panel]:
    """Of the output to noise in the latents, and of the latents to moves of the image."""
    panels: list[Panel] = []
    noisy = [entry for entry in _decodings(analyses) if entry[2].noise]
    if noisy:
        with panel("Output after noise in the latents", _names("PSNR over noise strength", noisy), panels) as canvas:
            canvas.axes.set_ylabel("PSNR in dB")
            for place, analysis, decoding in noisy:
                x = [point.strength for point in decoding.noise]
                said = analysis.subject.name + "\nnoise of {x} std: {y} dB"
                canvas.line(x, [float(point.psnr) for point in decoding.noise], said, **line(place))
            _noise_axis(canvas.axes, noisy)
        with panel("Response for each unit of noise", _names("response over noise strength", noisy), panels) as canvas:
            canvas.axes.set_ylabel("change of a pixel / noise of a cell")
            canvas.axes.set_yscale("log")
            for place, analysis, decoding in noisy:
                x = [point.strength for point in decoding.noise]
                said = analysis.subject.name + "\nnoise of {x} std: response {y}"
                canvas.line(x, [float(point.response) for point in decoding.noise], said, **line(place))
            _noise_axis(canvas.axes, noisy)
    if any(analysis.equivariance for analysis in analyses):
        with panel("Equivariance error by move", _names_of("error by move", analyses), panels, left=92) as canvas:
            _draw_equivariance(canvas, analyses)
    return panels


def _draw_equivariance(canvas: Canvas, analyses: Sequence[Analysis]) -> None:
    axes = canvas.axes
    moved = [(place, analysis) for place, analysis in enumerate(analyses) if analysis.equivariance]
    rows = distinct(_move(p.move, p.resampler) for _, analysis in moved for p in analysis.equivariance)
    step = 0.7 / max(len(moved), 1)
    for order, (place, analysis) in enumerate(moved):
        for point in analysis.equivariance:
            y = rows.index(_move(point.move, point.resampler)) + (order - (len(moved) - 1) / 2) * step
            value, error = float(point.error), point.error.standard_error or 0.0
            axes.plot([0, value], [y, y], color=colour(place), linewidth=1, alpha=0.35)
            axes.errorbar(value, y, xerr=error, color=colour(place), linewidth=1)
            axes.plot(value, y, **line(place) | {"linestyle": "", "markersize": 5})
            said = f"{point.move}{f', {point.resampler}' if point.resampler else ''}: {number(value)}"
            canvas.tip(value, y, f"{analysis.subject.name}\n{said} ± {number(error, 2)}")
    axes.set_yticks(range(len(rows)), rows, fontsize=8.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("error relative to the latents’ power")
    axes.grid(visible=False, axis="y")


def _move(move: str, resampler: str) -> str:
    return f"{move}, {resampler}" if resampler else move


def transfers(analyses: Sequence[Analysis]) -> list[Panel]:
    """One heat map an autoencoder: from the band of the latents that energy enters to the band of the image."""
    panels: list[Panel] = []
    for place, analysis, decoding in _decodings(analyses):
        if decoding.transfer:
            name = analysis.subject.name
            with panel(name, f"shares of output bands by latent band, {name}", panels, height=260) as canvas:
                _draw_transfer(canvas, decoding.transfer, place)
    return panels


def _draw_transfer(canvas: Canvas, transfer: Transfer, place: int) -> None:
    from matplotlib.patches import Rectangle

    axes, n = canvas.axes, len(transfer.frequencies)
    edges = [fixed(f, 2) for f in transfer.frequencies]
    outputs = [*edges, "beyond"]
    rows: list[tuple[float, str, tuple[float, ...]]] = [
        (y, f"of energy in latents up to {edge} cycles per cell", shares)
        for y, (edge, shares) in enumerate(zip(edges, transfer.shares, strict=True))
    ]
    # Below a gap of half a cell.
    rows.append((n + 0.5, "of a decoder that spreads evenly", transfer.even))
    for y, source, shares in rows:
        for x, share in enumerate(shares):
            strength = min(1.0, max(share, 0.0)) ** 0.7
            tone = colour(place) if y < n else MUTED
            square = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=tone, alpha=strength, linewidth=0)
            axes.add_patch(square)
            if round(100 * share) and n <= 12:
                ink = BACK if strength > 0.75 else INK
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
            where = f"up to {outputs[x]}" if x < n else "beyond them"
            canvas.tip(x, y, f"{source}\n{100 * share:.1f} % comes out {where}")
    for x in range(n):
        axes.add_patch(Rectangle((x - 0.5, x - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.9))
    axes.set_xlim(-0.5, n + 0.5)
    axes.set_ylim(n + 1, -0.5)
    axes.set_xticks(range(n + 1), outputs, fontsize=8.5)
    axes.set_yticks([*range(n), n + 0.5], [*edges, "even"], fontsize=8.5)
    axes.set_xlabel("band of the output, up to cycles per cell")
    axes.set_ylabel("band of the latents")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _decodings(analyses: Sequence[Analysis]) -> list[Placed]:
    return [(place, a, a.decoding) for place, a in enumerate(analyses) if a.decoding]


def _noise_axis(axes: "Axes", entries: Sequence[Placed]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    strengths = sorted({point.strength for _, _, decoding in entries for point in decoding.noise})
    axes.set_xticks(strengths, [f"{strength:g}" for strength in strengths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("noise, in standard deviations of a channel")


def _strength_axis(axes: "Axes", entries: Sequence[Placed]) -> None:
    """Shares of diagonals kept, from everything on the left to the strongest low-pass on the right."""
    ticks = {}
    for _, _, decoding in entries:
        everything = 2 * decoding.lowpass_block - 1
        for share, point in zip(_kept_shares(decoding), decoding.lowpass, strict=True):
            ticks[share] = "all" if point.keep == everything else str(point.keep)
    blocks = sorted({decoding.lowpass_block for _, _, decoding in entries})
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.invert_xaxis()
    of = " or ".join(str(2 * block - 1) for block in blocks)
    axes.set_xlabel(f"diagonals kept, of {of}   (stronger low-pass →)")


def _kept_shares(decoding: Decoding) -> list[float]:
    return [point.keep / (2 * decoding.lowpass_block - 1) for point in decoding.lowpass]


def _names(what: str, entries: Sequence[Placed]) -> str:
    return _names_of(what, [analysis for _, analysis, _ in entries])


def _names_of(what: str, analyses: Sequence[Analysis]) -> str:
    return f"{what}: {', '.join(analysis.subject.name for analysis in analyses)}"
