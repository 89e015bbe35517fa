"""Figures of a comparison: scores beside what might foretell them, spectra, errors by band, training losses."""

import statistics
from collections.abc import Sequence

from ...metrics.ranks import rank_correlation
from ...records.comparison import Comparison, Trial
from ...records.scores import BandPower
from ..canvas import HEIGHT, INK, Panel, colour, frequency_axis, line, log_log, method_line, number_at, panel
from ..digits import fixed, number
from .quantities import Quantity, headline

LONGEST_NAME = 17
ROW = 17


def scatters(comparison: Comparison, quantities: Sequence[Quantity]) -> list[Panel]:
    """The headline score over each quantity, a point a trial; methods by number at the mean of their trials."""
    score = headline(comparison)
    panels: list[Panel] = []
    if score is None:
        return panels
    for quantity in quantities:
        found = _points(comparison, quantity, score)
        # Two autoencoders, which all methods may share, foretell nothing but which of the two it was.
        if len({x for _, _, x, _ in found}) < 3:
            continue
        correlation = rank_correlation([x for *_, x, _ in found], [y for *_, y in found])
        said = "" if correlation is None else f": ρ = {fixed(correlation, 2)}, n = {len(found)}"
        label = f"{score.title} over {quantity.title}, a point a trial{said}"
        with panel(f"{quantity.title}{said}", label, panels, right=16) as canvas:
            axes = canvas.axes
            axes.set_xlabel(_with_unit(quantity))
            axes.set_ylabel(_with_unit(score))
            axes.ticklabel_format(useOffset=False)
            axes.locator_params("x", nbins=6)
            for place, trial, x, y in found:
                axes.plot([x], [y], **line(place) | {"linestyle": "none", "markersize": 6})
                told = f"{trial.method}, seed {trial.seed}\n{quantity.title} {number(x)}: {score.title} {number(y)}"
                canvas.tip(x, y, told)
            for place in sorted({place for place, *_ in found}):
                own = [(x, y) for at, _, x, y in found if at == place]
                at = statistics.mean(x for x, _ in own), statistics.mean(y for _, y in own)
                number_at(axes, place, at)
    return panels


def spectra(comparison: Comparison) -> list[Panel]:
    """Shares of latent power beside the images', the same divided by theirs, and the headline score by method."""
    panels: list[Panel] = []
    image = comparison.image_spectrum
    of_image = _shares(image.power)
    with panel("Latents beside the images", _names("share of latent power by frequency", comparison), panels) as canvas:
        log_log(canvas.axes, "cycles per latent cell", "share of a band")
        canvas.line(image.frequencies, of_image, "images\n{x} cycles per cell: share {y}", color=INK, linewidth=1.4)
        for place, method in enumerate(comparison.methods):
            said = method + "\n{x} cycles per cell: share {y}"
            own = comparison.of(method)[0].latent_spectrum.frequencies
            canvas.line(own, _mean_shares(comparison, method), said, **method_line(place))
    on_grid = [
        (place, method)
        for place, method in enumerate(comparison.methods)
        if comparison.of(method)[0].latent_spectrum.frequencies == image.frequencies and min(of_image, default=0) > 0
    ]
    if on_grid:
        title, label = "The same, divided by the images", _names("latent share over image share", comparison)
        with panel(title, label, panels) as canvas:
            log_log(canvas.axes, "cycles per latent cell", "latents’ share / images’ share")
            canvas.axes.axhline(1, color=INK, linewidth=1.4)
            for place, method in on_grid:
                ratio = [p / q for p, q in zip(_mean_shares(comparison, method), of_image, strict=True)]
                said = method + "\n{x} cycles per cell: {y} times the images’"
                canvas.line(image.frequencies, ratio, said, **method_line(place))
    score = headline(comparison)
    if score:
        panels.extend(_by_method(comparison, score))
    return panels


def band_errors(comparison: Comparison) -> list[Panel]:
    """Power of generated images, and of reconstructions, over that of the reference, by band, mean over seeds."""
    panels: list[Panel] = []
    for title, of in (
        ("Generated images", lambda trial: trial.generation.spectrum),
        ("Reconstructions", lambda trial: trial.reconstruction.spectrum),
    ):
        if not any(of(trial) for trial in comparison.trials):
            continue
        with panel(title, _names(f"error of the power spectrum of {title.lower()}", comparison), panels) as canvas:
            frequency_axis(canvas.axes, "cycles per pixel")
            canvas.axes.set_ylabel("power / reference, dB")
            canvas.axes.axhline(0, color=INK, linewidth=1.4)
            for place, method in enumerate(comparison.methods):
                x, y = _mean_errors([of(trial) for trial in comparison.of(method)])
                canvas.line(x, y, method + "\n{x} cycles per pixel: {y} dB", **method_line(place) | {"markersize": 3})
    return panels


def curves(comparison: Comparison) -> list[Panel]:
    """Training loss of every trial's diffusion model."""
    panels: list[Panel] = []
    if not any(trial.curve for trial in comparison.trials):
        return panels
    with panel("Training loss", _names("training loss over updates", comparison), panels) as canvas:
        canvas.axes.set_xlabel("updates")
        canvas.axes.set_ylabel("loss")
        canvas.axes.locator_params("x", nbins=5)
        for place, method in enumerate(comparison.methods):
            for trial in comparison.of(method):
                steps, losses = [point.step for point in trial.curve], [point.loss for point in trial.curve]
                said = f"{method}, seed {trial.seed}\nafter {{x}} updates: {{y}}"
                canvas.line(steps, losses, said, **method_line(place) | {"marker": "", "linewidth": 1.2})
        points = [point.loss for trial in comparison.trials for point in trial.curve]
        if min(points) > 0 and max(points) > 5 * min(points):
            canvas.axes.set_yscale("log")
    return panels


def _by_method(comparison: Comparison, score: Quantity) -> list[Panel]:
    """A row a method in the plan's order: its seeds, and their mean as a bar."""
    panels: list[Panel] = []
    n = len(comparison.methods)
    height = max(HEIGHT, 60 + ROW * n)
    title = f"{score.title}, {score.metric.better} is better"
    with panel(title, _names(f"{score.title} of every seed", comparison), panels, left=132, height=height) as canvas:
        axes = canvas.axes
        axes.set_xlabel(_with_unit(score))
        axes.set_ylim(n - 0.4, -0.6)
        axes.set_yticks(range(n), [f"{place + 1}  {_short(name)}" for place, name in enumerate(comparison.methods)])
        axes.tick_params("y", length=0, labelsize=9, labelcolor=INK)
        axes.grid(visible=False, axis="y")
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params("x", nbins=4)
        for place, method in enumerate(comparison.methods):
            values = score.values(comparison, method)
            if not values:
                continue
            axes.plot([min(values), max(values)], [place] * 2, color=colour(place), linewidth=5, alpha=0.25)
            axes.plot([statistics.mean(values)] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=1.2)
            for trial in comparison.of(method):
                value = score.of(trial)
                if value is not None:
                    axes.plot([value], [place], **line(place) | {"markersize": 6})
                    canvas.tip(value, place, f"{method}, seed {trial.seed}\n{score.title} {number(value, 4)}")
    return panels


def _points(comparison: Comparison, x: Quantity, y: Quantity) -> list[tuple[int, Trial, float, float]]:
    """The place of the method, the trial, and both numbers of every trial that has them."""
    return [
        (place, trial, at, value)
        for place, method in enumerate(comparison.methods)
        for trial in comparison.of(method)
        if (at := x.of(trial)) is not None and (value := y.of(trial)) is not None
    ]


def _shares(power: Sequence[float]) -> list[float]:
    total = sum(power) or 1.0  # latents that never vary have none
    return [each / total for each in power]


def _mean_shares(comparison: Comparison, method: str) -> list[float]:
    """Over seeds whose bands are those of the first."""
    first, *others = (trial.latent_spectrum for trial in comparison.of(method))
    alike = [first, *(own for own in others if own.frequencies == first.frequencies)]
    return [statistics.mean(band) for band in zip(*(_shares(own.power) for own in alike), strict=True)]


def _mean_errors(found: Sequence[tuple[BandPower, ...]]) -> tuple[list[float], list[float]]:
    """Frequencies and errors of the first seed that has any, averaged with those of the same bands."""
    by_frequency: dict[float, list[float]] = {}
    for bands in found:
        for band in bands:
            by_frequency.setdefault(band.frequency, []).append(band.error)
    return sorted(by_frequency), [statistics.mean(by_frequency[frequency]) for frequency in sorted(by_frequency)]


def _with_unit(quantity: Quantity) -> str:
    return f"{quantity.title}, {quantity.metric.unit}" if quantity.metric.unit else quantity.title


def _short(name: str) -> str:
    """Both ends, as names of one family often differ in the last word."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}…{name[-(LONGEST_NAME // 2) :]}"


def _names(what: str, comparison: Comparison) -> str:
    return f"{what}: {', '.join(comparison.methods)}"
