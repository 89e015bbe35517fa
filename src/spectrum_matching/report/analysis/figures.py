"""Figures of the latents: their spectra, gaps, structure and channels."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...records.analysis import KINDS, Analysis, Kind, LatentView, Spectrum, SpectrumMatch
from ...spectrum.bands import Variant
from ...spectrum.powerlaw import fit_power_law
from ..canvas import Curve, Panel, as_shares, curves, plotted, positive_limits
from ..digits import number
from ..marks import DASHED, INK, MUTED, colour, line
from .tables import REFERENCE_DELTAS, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: dict[Kind, Any] = {"mean": "solid", "sample": DASHED}
FREQUENCY = "cycles per latent position"
SPECTRUM: dict[str, Any] = {"x_scale": "frequency", "y_scale": "log"}
VARIANTS: dict[Variant, str] = {"scale_free": "Scale-free variant", "paper": "The paper’s variant"}


def spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the images' spectrum, shares of power on the latent grid, and these divided by the images' shares."""
    panels = [_image_spectrum(image) for analysis in analyses if (image := analysis.image)][:1]
    matched = [(*mean, mean[2].match("scale_free")) for mean in _means(analyses) if mean[2].matches]
    first = matched[0][-1] if matched else None
    tip = f"\n{{x}} {FREQUENCY}: share {{y}}"
    shares = [Curve(v.spectrum.frequencies, _shares(v), name + tip, line(i)) for i, name, v in _means(analyses)]
    options = SPECTRUM | {"right": 38, "prepare": lambda axes: _draw_targets(axes, first, divided=False)}
    title = "Latents beside the targets" if first else "Latents"
    panels.append(curves(title, FREQUENCY, "share of a band", shares, **options))
    if first:
        tip = f"\n{{x}} {FREQUENCY}: {{y}} times the images’"
        ratios = [
            Curve(match.frequencies, _ratio(match.latent, match.target(0.0)), name + tip, line(index))
            for index, name, _, match in matched
        ]
        options |= {"prepare": lambda axes: _draw_targets(axes, first, divided=True)}
        title, y_label = "The same, divided by the images", "latents’ share / images’ share"
        panels.append(curves(title, FREQUENCY, y_label, ratios, **options))
    return panels


def against_target(analyses: Sequence[Analysis]) -> Panel:
    """Draw how far the spectrum of what a diffusion model learns lies from its target; the power itself without images.

    Each is divided by the target on its own latent grid.
    """
    views = [(index, a.subject.name, a.diffused, a.name_of(a.diffused)) for index, a in enumerate(analyses)]
    matched = [(index, name, view.match("scale_free"), latents) for index, name, view, latents in views if view.matches]
    if not matched:
        lines = [_power(name, view, view.spectrum.power, line(index), latents) for index, name, view, latents in views]
        return curves("Power of the latents by frequency", FREQUENCY, "mean power", lines, **SPECTRUM)
    lines = []
    for index, name, match, latents in matched:
        tip = f"{name}\n{{x}} {FREQUENCY}: {latents} {{y}} dB from the target"
        lines.append(Curve(match.frequencies, _decibels(match.latent, match.target(1.0)), tip, line(index)))

    def draw_references(axes: "Axes") -> None:
        match = matched[0][2]
        for delta, name, tone in ((0.0, "images", MUTED), (1.0, "target", INK)):
            values = _decibels(match.target(delta), match.target(1.0))
            axes.plot(match.frequencies, values, color=tone, linewidth=1.4, linestyle="solid" if delta else DASHED)
            style: dict[str, Any] = {"va": "center", "fontsize": 9, "color": tone, "annotation_clip": False}
            axes.annotate(name, (match.frequencies[-1], values[-1]), (4, 0), textcoords="offset points", **style)

    title, y_label = "Spectrum against the target", "power against the target, dB"
    options: dict[str, Any] = {"x_scale": "frequency", "right": 42, "prepare": draw_references}
    return curves(title, f"{FREQUENCY}  (coarse → fine)", y_label, lines, **options)


def gap_curves(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the gap over delta, one panel for each variant, with the minimum and its interval."""
    drawn = [(index, name, view) for index, name, view in _means(analyses) if view.matches]
    panels = []
    for variant, title in VARIANTS.items() if drawn else ():
        lines = []
        for index, name, view in drawn:
            match, style = view.match(variant), line(index)
            bar = {"color": colour(index), "linewidth": 5, "alpha": 0.35}
            gaps, least = list(map(plotted, match.gaps)), [match.best_gap]
            errors = [gap.standard_error for gap in match.gaps]
            tip = name + "\ndelta {x}: {y} nats"
            lines.append(Curve(match.deltas, gaps, tip, style | {"marker": ""}, errors=errors))
            lines.append(Curve(match.best_delta_interval, least * 2, "", bar))
            tips = [f"{name}\nbest delta {best(match)}: {number(match.best_gap)} nats"]
            lines.append(Curve([match.best_delta], least, tips, style | {"markersize": 6}, ""))
        panels.append(curves(title, "delta", "gap in nats", lines, y_scale="log"))
    return panels


def structure(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the similarity of positions by distance, the channels' eigenspectrum and the block-DCT profile."""
    views = _means(analyses)
    tip = "\n{x} positions apart: cosine {y}"
    lines = [_ranked(view.cosine_by_distance[1:], name + tip, index) for index, name, view in views]
    x_label = "Manhattan distance in positions"
    panels = [curves("Similarity of positions", x_label, "mean cosine", lines, level=(0, MUTED))]
    if any(len(view.eigenvalues) > 1 for *_, view in views):
        lines = []
        for index, name, view in views:
            shares = as_shares([value for value in view.eigenvalues if value > 0])
            lines.append(_ranked(shares, name + "\ndirection {x}: share {y}", index))
        options: dict[str, Any] = {"prepare": lambda axes: axes.locator_params("x", integer=True), "y_scale": "log"}
        x_label = "rank of the direction among channels"
        panels.append(curves("Variance by direction", x_label, "share of variance", lines, **options))
    if any(view.block_dct for *_, view in views):
        image = next((analysis.image_block_dct for analysis in analyses if analysis.image_block_dct), ())
        profiles = [("images", image, {"color": INK})]
        profiles += [(name, view.block_dct, line(index) | {"marker": ""}) for index, name, view in views]
        tip = "\nindex {x}: {y} of DC"
        lines = [Curve(range(len(y)), y, name + tip, style | {"linewidth": 1.4}) for name, y, style in profiles]
        x_label = "zig-zag index in blocks of 8 positions"
        panels.append(curves("Block-DCT profile", x_label, "amplitude / DC’s", lines, y_scale="log"))
    return panels


def channel_spectra(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the channels' spectra, one panel for each autoencoder on common axes; dead channels have no power."""
    live = (c for *_, view in _means(analyses) for c in view.channels if c.state != "dead")
    limits = positive_limits(power for channel in live for power in channel.power)
    panels = []
    for index, name, view in _means(analyses):
        lines = []
        for c, channel in enumerate(view.channels):
            style = {"color": colour(index), "linewidth": 1.0, "alpha": max(0.25, len(view.channels) ** -0.3)}
            title, entry = f"channel {c}", "a channel"
            if channel.state == "outlier":
                style |= {"linewidth": 1.4, "alpha": 1.0, "linestyle": DASHED}
                title, entry = f"{title} (outlier)", "an outlier"
            if channel.state != "dead":
                lines.append(_power(title, view, channel.power, style)._replace(entry=entry))
        lines.append(_power("all channels", view, view.spectrum.power, {"color": INK, "linewidth": 1.8}))
        label = f"power spectra of the {len(view.channels)} channels of {name}"
        panels.append(curves(name, FREQUENCY, "mean power", lines, label=label, y_limits=limits, **SPECTRUM))
    return panels


def mean_and_sample(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw the power of posterior means and samples, one panel for each stochastic autoencoder on common axes."""
    stochastic = [(index, a.subject.name, a.views) for index, a in enumerate(analyses) if len(a.views) > 1]
    limits = positive_limits(power for *_, views in stochastic for view in views for power in view.spectrum.power)
    panels = []
    for index, name, views in stochastic:
        styles = [{"color": colour(index), "linestyle": DASHES[view.kind]} for view in views]
        lines = [_power(KINDS[v.kind], v, v.spectrum.power, style) for v, style in zip(views, styles, strict=True)]
        label = f"power of posterior means and of posterior samples of {name}"
        panels.append(curves(name, FREQUENCY, "mean power", lines, label=label, y_limits=limits, **SPECTRUM))
    return panels


def _means(analyses: Sequence[Analysis]) -> list[tuple[int, str, LatentView]]:
    return [(index, a.subject.name, a.view("mean")) for index, a in enumerate(analyses)]


def _image_spectrum(image: Spectrum) -> Panel:
    frequencies, exponent = image.frequencies, image.exponent.value
    law = fit_power_law(torch.tensor(image.power), torch.tensor(frequencies), 1 / torch.tensor(frequencies))
    fit = [float(law.amplitude) * frequency ** -float(law.exponent) for frequency in frequencies]
    said = "no power law" if exponent is None else f"exponent {exponent:.2f}"
    lines = [
        Curve(frequencies, image.power, "images\n{x} cycles per pixel: power {y}", {"color": INK}),
        Curve(frequencies, fit, "", {"color": MUTED, "linewidth": 1, "linestyle": DASHED}),
    ]

    def name_law(axes: "Axes") -> None:
        style: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "color": MUTED, "fontsize": 9}
        axes.text(0.97, 0.93, f"dashed: {said}", **style)

    label = f"power spectrum of the images, {said}"
    return curves("Images", "cycles per pixel", "mean power", lines, label=label, prepare=name_law, **SPECTRUM)


def _ranked(values: Sequence[float], tip: str, index: int) -> Curve:
    return Curve(range(1, len(values) + 1), values, tip, line(index) | {"markersize": 3})


def _power(name: str, view: LatentView, power: Sequence[float], style: dict[str, Any], latents: str = "") -> Curve:
    of = f" of {latents}" if latents else ""
    return Curve(view.spectrum.frequencies, power, f"{name}\n{{x}} {FREQUENCY}: power {{y}}{of}", style)


def _shares(view: LatentView) -> Sequence[float]:
    """Return shares of power by band: the mean over images where there are any, else those of the mean spectrum."""
    power = view.spectrum.power
    return view.match("scale_free").latent if view.matches else as_shares(power)


def _ratio(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return quotients by band, NaN where the other has no power."""
    return [p / q if q else math.nan for p, q in zip(one, other, strict=True)]


def _decibels(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return quotients by band in dB, NaN where either has no power."""
    return [10 * math.log10(ratio) if ratio > 0 else math.nan for ratio in _ratio(one, other)]


def _draw_targets(axes: "Axes", match: SpectrumMatch | None, divided: bool) -> None:
    if match is None:
        return
    for delta in REFERENCE_DELTAS:
        target, images = match.target(delta), match.target(0.0)
        values = _ratio(target, images) if divided else target
        tone, width, name = (INK, 1.4, "images") if delta == 0 else (MUTED, 0.9, f"{delta:g}")
        axes.plot(match.frequencies, values, color=tone, linewidth=width)
        style: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": tone, "annotation_clip": False}
        axes.annotate(name, (match.frequencies[-1], values[-1]), (4, 0), textcoords="offset points", **style)
