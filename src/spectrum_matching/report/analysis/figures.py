"""Figures of the latents: their spectra, gaps, structure and channels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...records.analysis import Analysis, Kind, LatentView, SpectrumMatch, Variant
from ...spectrum.powerlaw import fit_power_law
from ..canvas import DASHED, INK, MUTED, Panel, colour, line, log_log, panel
from .tables import REFERENCE_DELTAS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: dict[Kind, Any] = {"mean": "solid", "sample": DASHED}
SHARE = "\n{x} cycles per cell: share {y}"


def spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """The images on their own grid; shares of power on the latent grid; the same divided by the images' share."""
    panels: list[Panel] = []
    first = next((analysis.image for analysis in analyses if analysis.image), None)
    if first:
        exponent = first.exponent.value
        with panel("Images", f"power spectrum of the images, exponent {exponent:.2f}", panels) as canvas:
            f, power = first.frequencies, first.power
            log_log(canvas.axes, "cycles per pixel", "mean power")
            canvas.line(f, power, "images\n{x} cycles per pixel: power {y}", color=INK)
            law = fit_power_law(torch.tensor(power), torch.tensor(f), 1 / torch.tensor(f))
            level, slope = float(law.amplitude), float(law.exponent)
            canvas.axes.plot(f, [level * x**-slope for x in f], color=MUTED, linewidth=1, linestyle=DASHED)
            canvas.axes.text(
                0.97,
                0.93,
                f"dashed: exponent {slope:.2f}",
                transform=canvas.axes.transAxes,
                ha="right",
                color=MUTED,
                fontsize=9,
            )
    matched = [(place, a, a.view("mean").match("scale_free")) for place, a in enumerate(analyses) if _has_match(a)]
    title = "Latents beside the targets" if matched else "Latents"
    with panel(title, _names("share of latent power by frequency", analyses), panels, right=38) as canvas:
        log_log(canvas.axes, "cycles per latent cell", "share of a band")
        if matched:
            _draw_targets(canvas.axes, matched[0][2], divided=False)
        for place, analysis in enumerate(analyses):
            view = analysis.view("mean")
            canvas.line(view.spectrum.frequencies, _shares(view), analysis.subject.name + SHARE, **line(place))
    if not matched:
        return panels
    of = [analysis for _, analysis, _ in matched]
    with panel(
        "The same, divided by the images", _names("latent share over image share", of), panels, right=38
    ) as canvas:
        log_log(canvas.axes, "cycles per latent cell", "latents’ share / images’ share")
        _draw_targets(canvas.axes, matched[0][2], divided=True)
        for place, analysis, match in matched:
            ratio = [p / q for p, q in zip(match.latent, match.target(0.0), strict=True)]
            said = analysis.subject.name + "\n{x} cycles per cell: {y} times the images’"
            canvas.line(match.frequencies, ratio, said, **line(place))
    return panels


def gap_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """Gap over delta, one panel a variant, each minimum with its interval."""
    drawn = [(place, analysis) for place, analysis in enumerate(analyses) if _has_match(analysis)]
    panels: list[Panel] = []
    titles: dict[Variant, str] = {"scale_free": "Scale-free variant", "paper": "The paper’s variant"}
    for variant, title in titles.items() if drawn else ():
        label = _names(f"gap over delta, {title.lower()}", [analysis for _, analysis in drawn])
        with panel(title, label, panels) as canvas:
            axes = canvas.axes
            axes.set_yscale("log")
            axes.set_xlabel("delta")
            axes.set_ylabel("gap in nats")
            for place, analysis in drawn:
                match, name = analysis.view("mean").match(variant), analysis.subject.name
                gaps = list(map(float, match.gaps))
                canvas.line(match.deltas, gaps, name + "\ndelta {x}: {y} nats", **line(place) | {"marker": ""})
                low, high = match.best_delta_interval
                axes.plot([low, high], [match.best_gap] * 2, color=colour(place), linewidth=5, alpha=0.35)
                said = name + "\nbest delta {x}: {y} nats"
                canvas.line([match.best_delta], [match.best_gap], said, **line(place) | {"markersize": 6})
    return panels


def structure(analyses: Sequence[Analysis]) -> list[Panel]:
    """Likeness of cells over their distance, the channels' eigenspectrum, the block-DCT profile."""
    views = [(place, analysis, analysis.view("mean")) for place, analysis in enumerate(analyses)]
    panels: list[Panel] = []
    with panel("Likeness of cells", _names("mean cosine over distance", analyses), panels) as canvas:
        canvas.axes.set_xlabel("Manhattan distance in cells")
        canvas.axes.set_ylabel("mean cosine")
        canvas.axes.axhline(0, color=MUTED, linewidth=0.8)
        for place, analysis, view in views:
            cosines = view.cosine_by_distance[1:]
            said = analysis.subject.name + "\n{x} cells apart: cosine {y}"
            canvas.line(range(1, len(cosines) + 1), cosines, said, **line(place) | {"markersize": 3})
    if any(len(view.eigenvalues) > 1 for _, _, view in views):
        with panel("Variance by direction", _names("eigenvalues over rank", analyses), panels) as canvas:
            canvas.axes.set_yscale("log")
            canvas.axes.set_xlabel("rank of the direction among channels")
            canvas.axes.set_ylabel("share of variance")
            canvas.axes.locator_params("x", integer=True)
            for place, analysis, view in views:
                shares = [value / sum(view.eigenvalues) for value in view.eigenvalues if value > 0]
                said = analysis.subject.name + "\ndirection {x}: share {y}"
                canvas.line(range(1, len(shares) + 1), shares, said, **line(place) | {"markersize": 3})
    if any(view.block_dct for _, _, view in views):
        with panel("Block-DCT profile", _names("amplitude over zig-zag index", analyses), panels) as canvas:
            canvas.axes.set_yscale("log")
            canvas.axes.set_xlabel("zig-zag index in blocks of 8 cells")
            canvas.axes.set_ylabel("amplitude / DC’s")
            image = next((analysis.image_block_dct for analysis in analyses if analysis.image_block_dct), ())
            canvas.line(range(len(image)), image, "images\nindex {x}: {y} of DC", color=INK, linewidth=1.4)
            for place, analysis, view in views:
                said = analysis.subject.name + "\nindex {x}: {y} of DC"
                options = line(place) | {"marker": "", "linewidth": 1.4}
                canvas.line(range(len(view.block_dct)), view.block_dct, said, **options)
    return panels


def channel_spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """One panel an autoencoder, one thin line a channel, on common axes; dead ones, which have no power, fall out."""
    powers = [p for a in analyses for channel in a.view("mean").channels for p in channel.power if _drawn(channel)]
    panels: list[Panel] = []
    for place, analysis in enumerate(analyses):
        view, name = analysis.view("mean"), analysis.subject.name
        n = len(view.channels)
        with panel(name, f"power spectra of the {n} channels of {name}", panels) as canvas:
            log_log(canvas.axes, "cycles per latent cell", "mean power")
            for i, channel in enumerate(view.channels):
                if not _drawn(channel):
                    continue
                is_outlier = channel.state == "outlier"
                said = f"channel {i}{' (outlier)' if is_outlier else ''}\n{{x}} cycles per cell: power {{y}}"
                canvas.line(
                    view.spectrum.frequencies,
                    channel.power,
                    said,
                    color=colour(place),
                    linewidth=1.4 if is_outlier else 1,
                    linestyle=DASHED if is_outlier else "solid",
                    alpha=1 if is_outlier else max(0.25, n**-0.3),
                )
            said = "all channels\n{x} cycles per cell: power {y}"
            canvas.line(view.spectrum.frequencies, view.spectrum.power, said, color=INK, linewidth=1.8)
            canvas.axes.set_ylim(min(powers) / 1.5, max(powers) * 1.5)
    return panels


def mean_and_sample(analyses: Sequence[Analysis]) -> list[Panel]:
    """One panel a stochastic autoencoder: power of posterior means and of samples, on common axes."""
    drawn = [(place, analysis) for place, analysis in enumerate(analyses) if len(analysis.views) > 1]
    powers = [p for _, analysis in drawn for view in analysis.views for p in view.spectrum.power if p > 0]
    panels: list[Panel] = []
    for place, analysis in drawn:
        name = analysis.subject.name
        with panel(name, f"power of posterior means and of samples of {name}", panels) as canvas:
            log_log(canvas.axes, "cycles per latent cell", "mean power")
            for view in analysis.views:
                said = f"{view.kind}s\n{{x}} cycles per cell: power {{y}}"
                own = view.spectrum
                canvas.line(own.frequencies, own.power, said, color=colour(place), linestyle=DASHES[view.kind])
            canvas.axes.set_ylim(min(powers) / 1.5, max(powers) * 1.5)
    return panels


def _drawn(channel: Any) -> bool:
    return channel.state != "dead" and min(channel.power) > 0


def _has_match(analysis: Analysis) -> bool:
    return bool(analysis.view("mean").matches)


def _shares(view: LatentView) -> list[float]:
    """Of power by band; without images from the mean spectrum, where the match has the mean of shares."""
    if view.matches:
        return list(view.match("scale_free").latent)
    return [power / sum(view.spectrum.power) for power in view.spectrum.power]


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


def _names(what: str, analyses: Sequence[Analysis]) -> str:
    return f"{what}: {', '.join(analysis.subject.name for analysis in analyses)}"
