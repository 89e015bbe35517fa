"""Figures of a comparison: scores against their predictors, spectra, errors by band, training losses."""

import statistics
from collections.abc import Sequence
from typing import Literal

from ...metrics.ranks import rank_correlation
from ...records.comparison import Comparison
from ..canvas import Curve, Panel, as_shares, by_row, curves, estimate, number_at, panel, shortened
from ..digits import fixed, number
from ..marks import INK, colour, line
from .quantities import Quantity, headline

LONGEST_NAME = 17


def scatters(comparison: Comparison, quantities: Sequence[Quantity]) -> list[Panel]:
    """Plot the headline score over each quantity, one point per trial; a number stands at each method's mean."""
    score = headline(comparison)
    panels: list[Panel] = []
    if score is None:
        return panels
    for quantity in quantities:
        points = [
            (index, trial, x, y)
            for index, method in enumerate(comparison.methods)
            for trial in comparison.of(method)
            if (x := quantity.of(trial)) is not None and (y := score.of(trial)) is not None
        ]
        # Two autoencoders, which all methods may share, say no more than which of the two is better.
        if len({x for _, _, x, _ in points}) < 3:
            continue
        rho = rank_correlation([x for *_, x, _ in points], [y for *_, y in points])
        correlation = "" if rho is None else f": ρ = {fixed(rho, 2)}, n = {len(points)}"
        label = f"{score.title} over {quantity.title}, one point per trial{correlation}"
        with panel(f"{quantity.title}{correlation}", label, panels, right=16) as canvas:
            axes = canvas.axes
            axes.set_xlabel(_with_unit(quantity))
            axes.set_ylabel(_with_unit(score))
            axes.ticklabel_format(useOffset=False)
            axes.locator_params("x", nbins=6)
            for index, trial, x, y in points:
                style = line(index) | {"linestyle": "none", "markersize": 6}
                axes.plot([x], [y], **style)
                canvas.entry(f"{index + 1} {trial.method}", style)
                numbers = f"{quantity.title} {quantity.words(x)}: {score.title} {number(y)}"
                canvas.tip(x, y, f"{trial.method}, seed {trial.seed}\n{numbers}")
                canvas.datum(f"{trial.method}, seed {trial.seed}", x, y)
            for index in sorted({index for index, *_ in points}):
                xs, ys = zip(*((x, y) for each, _, x, y in points if each == index), strict=True)
                number_at(axes, index, (statistics.mean(xs), statistics.mean(ys)))
    return panels


def spectra(comparison: Comparison) -> list[Panel]:
    """Plot shares of latent power beside those of the images, and the headline score by method."""
    image, tip = comparison.image_spectrum, "\n{x} cycles per position: share {y}"
    series = [Curve(image.frequencies, as_shares(image.power), "images" + tip, {"color": INK, "linewidth": 1.4})]
    for index, method in enumerate(comparison.methods):
        frequencies = comparison.of(method)[0].latent_spectrum.frequencies
        series.append(Curve(frequencies, _mean_shares(comparison, method), method + tip, line(index)))
    label = _label("share of latent power by frequency", comparison)
    labels, score = ("cycles per latent position", "share of a band"), headline(comparison)
    title = "Latents beside the images"
    panels = [curves(title, *labels, series, label=label, x_scale="frequency", y_scale="log")]
    return [*panels, _by_method(comparison, score)] if score else panels


def band_errors(comparison: Comparison) -> list[Panel]:
    """Plot the power of generated images and of reconstructions over the reference's, by band, mean over seeds."""
    panels: list[Panel] = []
    for title, kind in (("Generated images", "generation"), ("Reconstructions", "reconstruction")):
        series = []
        for index, method in enumerate(comparison.methods):
            errors: dict[float, list[float]] = {}  # of all seeds that have a band of this frequency
            for band in (band for trial in comparison.of(method) for band in getattr(trial, kind).spectrum):
                errors.setdefault(band.frequency, []).append(band.error)
            x, tip = sorted(errors), method + "\n{x} cycles per pixel: {y} dB"
            y = [statistics.mean(errors[frequency]) for frequency in x]
            series.append(Curve(x, y, tip, line(index) | {"markersize": 3}))
        if any(curve.x for curve in series):
            label = _label(f"error of the power spectrum of {title.lower()}", comparison)
            labels = ("cycles per pixel", "power / reference, dB")
            panels.append(curves(title, *labels, series, label=label, x_scale="frequency", level=(0, INK)))
    return panels


def training_loss(comparison: Comparison) -> list[Panel]:
    """Plot the training loss of every trial's diffusion model."""
    series = []
    for index, method in enumerate(comparison.methods):
        for trial in comparison.of(method):
            x, y = [point.step for point in trial.curve], [point.loss for point in trial.curve]
            tip = f"{method}, seed {trial.seed}\nafter {{x}} updates: {{y}}"
            series.append(Curve(x, y, tip, line(index) | {"marker": "", "linewidth": 1.2}, method))
    losses = [loss for curve in series for loss in curve.y]
    if not losses:
        return []
    scale: Literal["log", "linear"] = "log" if min(losses) > 0 and max(losses) > 5 * min(losses) else "linear"
    label = _label("training loss over updates", comparison)
    return [curves("Training loss", "updates", "loss", series, label=label, y_scale=scale)]


def _by_method(comparison: Comparison, score: Quantity) -> Panel:
    """Draw a row for each method in the plan's order: its seeds, and their mean as a bar."""
    rows = [f"{index + 1}  {shortened(name, LONGEST_NAME)}" for index, name in enumerate(comparison.methods)]
    series = []
    for index, method in enumerate(comparison.methods):
        if spread := score.spread(comparison, method):
            bar = {"color": colour(index), "linewidth": 5, "alpha": 0.25}
            series.append(Curve([spread.least, spread.greatest], [index] * 2, "", bar))
            upright = [index - 0.32, index + 0.32]
            series.append(Curve([spread.mean] * 2, upright, "", {"color": INK, "linewidth": 1.2}))
        for trial in comparison.of(method):
            if (value := score.of(trial)) is not None:
                tip = f"{method}, seed {trial.seed}\n{score.title} {number(value, 4)}"
                series += estimate(value, None, index, tip, index, "")
    title, label = f"{score.title}, {score.metric.better} is better", _label(f"{score.title} of every seed", comparison)
    return by_row(title, _with_unit(score), rows, series, label=label, left=132)


def _mean_shares(comparison: Comparison, method: str) -> list[float]:
    """Return the mean over the seeds whose bands are those of the first."""
    spectra = [trial.latent_spectrum for trial in comparison.of(method)]
    same = [as_shares(each.power) for each in spectra if each.frequencies == spectra[0].frequencies]
    return [statistics.mean(band) for band in zip(*same, strict=True)]


def _with_unit(quantity: Quantity) -> str:
    return f"{quantity.title}, {quantity.metric.unit}" if quantity.metric.unit else quantity.title


def _label(what: str, comparison: Comparison) -> str:
    return f"{what}: {', '.join(comparison.methods)}"
