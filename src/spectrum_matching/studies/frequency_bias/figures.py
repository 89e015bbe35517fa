"""Figures of the frequency bias: by band, by noise level and by update."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ...report.canvas import DASHED, HEIGHT, INK, MUTED, Panel, frequency_axis, line, method_line, panel
from ...report.digits import fixed, number
from .record import Band, Case, FrequencyBias, Injection, Level, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 15


def groups(study: FrequencyBias) -> list[tuple[str, list[str]]]:
    """Cases that belong in one panel, each group with the plain images; a group without others is left out."""
    names = study.names
    control = [name for name in names if name == "images"]
    kinds: list[tuple[str, Callable[[str], bool]]] = [
        ("Images, spectrum tilted", lambda name: name.startswith("images, delta")),
        ("Gaussian fields", lambda name: name.startswith(("Gaussian", "white"))),
        ("Other losses and predictions", lambda name: name.startswith(("loss", "predicts"))),
        ("Latents", lambda name: name.startswith("latents")),
    ]
    found = [(title, control + [name for name in names if belongs(name)]) for title, belongs in kinds]
    found = [(title, own) for title, own in found if len(own) > len(control)]
    return found or [("Images", control or list(names))]


def by_band(
    study: FrequencyBias,
    what: str,
    of: Callable[[Band], float | None],
    said: str,
    *,
    log: bool = True,
    level: float | None = None,
    titled: str = "",
    log_x: bool = False,
) -> list[Panel]:
    """One panel a group: a number over the frequency of the band, a line a seed. level: drawn across.

    titled: what follows the group's name. Dotted, upright: the highest frequency that tokens tell apart.
    """
    panels: list[Panel] = []
    values = [value for case in study.cases for band in case.bands if (value := of(band)) is not None]
    values = [value for value in values if value > 0 or not log]
    low, high = (min(values), max(values)) if values else (0.1, 1.0)
    for title, names in groups(study):
        with panel(title + titled, f"{what} by frequency: {', '.join(names)}", panels) as canvas:
            canvas.axes.set_xlabel("cycles per sample")
            if log_x:
                frequency_axis(canvas.axes, "cycles per sample")
            canvas.axes.set_ylabel(what)
            if log:
                canvas.axes.set_yscale("log")
                canvas.axes.set_ylim(low / 1.15, high * 1.15)
            else:
                canvas.axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            if level is not None:
                canvas.axes.axhline(level, color=INK, linewidth=1.2)
            for edge in sorted({_token_nyquist(case) for _, case in _of(study, names)}):
                canvas.axes.axvline(edge, color=MUTED, linewidth=1, linestyle=":")
            for place, case in _of(study, names):
                points = [(band.frequency, value) for band in case.bands if (value := of(band)) is not None]
                told = f"{case.name}, seed {case.seed}\n{{x}} cycles per sample: {said}"
                canvas.line(
                    [x for x, _ in points], [y for _, y in points], told, **method_line(place) | {"markersize": 3.2}
                )
    return panels


def halves(study: FrequencyBias) -> list[Panel]:
    """Updates to half of the way to the last loss of a band, and to half of the way of its logarithm."""
    return by_band(study, "updates to half", lambda band: band.half.to_final, "half after {y} updates") + by_band(
        study,
        "updates to half of log",
        lambda band: band.half.to_final_log,
        "half of the logarithm after {y} updates",
        titled=", logarithm",
    )


def spectra(study: FrequencyBias) -> list[Panel]:
    """Power of the held-out data."""
    return by_band(study, "mean power, white: 1", lambda band: band.power, "power {y}", level=1, log_x=True)


def band_curves(case: Case) -> list[Panel]:
    """By update: error of x̂ over the band's power, and over the linear denoiser's; of the velocity, a coefficient."""
    panels: list[Panel] = []
    n = len(case.bands)
    chosen = sorted({round(k * (n - 1) / 5) for k in range(6)})
    steps = [own.step + 1 for own in case.looks]
    curves: list[tuple[str, str, int | None, Callable[[Look, int], float]]] = [
        ("over the band’s power", "error / power", None, lambda own, k: _over_power(case, own.data_errors, k)),
        ("over Wiener", "ratio", 1, lambda own, k: _over_wiener(case, own.data_errors, k)),
        ("of the velocity", "squared error", None, lambda own, k: _of_velocity(case, own, k)),
    ]
    for title, what, level, of in curves:
        with panel(f"{case.name}: {title}", f"{what} by update for bands of {case.name}", panels, right=44) as canvas:
            canvas.axes.set_yscale("log")
            _update_axis(canvas.axes, steps[-1])
            canvas.axes.set_ylabel(what)
            if level:
                canvas.axes.axhline(level, color=INK, linewidth=1.2)
            for at, k in enumerate(chosen):
                values = [of(own, k) for own in case.looks]
                said = f"band at {number(case.bands[k].frequency, 2)} cycles per sample\nafter {{x}}: {{y}}"
                canvas.line(steps, values, said, **line(at) | {"markersize": 3.2})
    return panels


def curve_key(case: Case) -> tuple[str, ...]:
    """The bands that `band_curves` draws, in the order of their colours."""
    n = len(case.bands)
    chosen = sorted({round(k * (n - 1) / 5) for k in range(6)})
    return tuple(f"{number(case.bands[k].frequency, 2)} cycles per sample" for k in chosen)


def level_maps(case: Case) -> list[Panel]:
    """Bands × noise levels: final error over the band's power, over the linear denoiser's, and updates to half."""
    last, powers = case.looks[-1].data_errors, case.powers
    columns = [f"{level.time:g}" for level in case.levels]
    relative = [[last[at][k] / powers[k] for at in range(len(columns))] for k in range(len(powers))]
    halves = [[case.half_levels[at][k] for at in range(len(columns))] for k in range(len(powers))]
    most = max((value for row in halves for value in row if value is not None), default=1.0)
    panels = _map(case, "Error over power", relative, columns, "noise level t", "error / power {value}", 1.0)
    panels += ratio_map(case)
    return panels + _map(
        case, "Updates to half", halves, columns, "noise level t", "half after {value} updates", most, decimals=0
    )


def ratio_map(case: Case, title: str = "Over Wiener, in doublings") -> list[Panel]:
    """Bands × noise levels: log₂ of the final error over the linear denoiser's."""
    last = case.looks[-1].data_errors
    values = [
        [_doublings(last[at][k] / level.wiener_errors[k]) for at, level in enumerate(case.levels)]
        for k in range(len(case.bands))
    ]
    columns = [f"{level.time:g}" for level in case.levels]
    return _map(case, title, values, columns, "noise level t", "log₂ of the ratio {value}", 2.0)


def update_map(case: Case) -> list[Panel]:
    """Bands × updates: log₂ of the error over the linear denoiser's, mean over noise levels."""
    columns = [f"{own.step:,}" for own in case.looks]
    values = [
        [_doublings(_over_wiener(case, own.data_errors, k)) for own in case.looks] for k in range(len(case.bands))
    ]
    title = case.name if case.subject == "pixels" else case.name.removeprefix("latents of ")
    return _map(case, title, values, columns, "updates", "log₂ of the ratio {value}", 4.0, decimals=1)


def sample_pictures(study: FrequencyBias) -> list[Panel]:
    """Generated images of the first seed of every case that makes any."""
    panels = []
    for name in study.names:
        case = study.of(name)[0]
        if case.samples:
            side = 180
            picture = f'<image href="data:image/png;base64,{case.samples}" width="{side}" height="{side}"/>'
            style = "image-rendering: pixelated"
            svg = f'<svg viewBox="0 0 {side} {side}" style="{style}" aria-hidden="true">{picture}</svg>'
            panels.append(Panel(name, f"generated images of {name}", svg))
    return panels


def error_shares(study: FrequencyBias) -> list[Panel]:
    """Of plain, steepened and flattened images: shares of the error by band, as it is and as seen, and the power's."""
    panels: list[Panel] = []
    for name in ("images", "images, delta -1", "images, delta 2"):
        if name not in study.names:
            continue
        case = study.of(name)[0]
        level = case.levels[len(case.levels) // 2]
        frequencies = [band.frequency for band in case.bands]
        with panel(f"{name}, t = {level.time:g}", f"share of the error by band of {name}", panels) as canvas:
            canvas.axes.set_xlabel("cycles per sample")
            canvas.axes.set_ylabel("share")
            power = [own / sum(case.powers) for own in case.powers]
            canvas.axes.plot(frequencies, power, color=MUTED, linestyle=DASHED, linewidth=1.2)
            seen = level.seen_share or level.error_share
            for at, (words, shares) in enumerate((("as it is", level.error_share), ("as seen", seen))):
                said = f"error {words}\n{{x}} cycles per sample: share {{y}}"
                canvas.line(frequencies, shares, said, **line(at) | {"markersize": 3.2})
    return panels


def seen_figures(study: FrequencyBias) -> list[Panel]:
    """By noise level, beside the linear denoiser: the whole error as seen over as it is, SSIM, weighted PSNR of x̂."""
    panels: list[Panel] = []
    kinds: list[tuple[str, Callable[[Level], float | None]]] = [
        ("Over Wiener, as seen / as it is", _forgiven),
        (
            "SSIM of x̂, less Wiener’s",
            lambda level: level.network.ssim - level.wiener.ssim if level.network and level.wiener else None,
        ),
        (
            "CSF-weighted PSNR, less Wiener’s, dB",
            lambda level: level.network.csf_psnr - level.wiener.csf_psnr if level.network and level.wiener else None,
        ),
    ]
    for at, (title, of) in enumerate(kinds):
        seen = [case for case in study.cases if case.subject == "pixels" and of(case.levels[0]) is not None]
        if not seen:
            return panels
        with panel(title, f"{title} by noise level", panels) as canvas:
            canvas.axes.set_xlabel("noise level t")
            canvas.axes.axhline(0 if at else 1, color=INK, linewidth=1.2)
            for case in seen:
                said = f"{case.name}, seed {case.seed}\nat t = {{x}}: {{y}}"
                points = [(level.time, value) for level in case.levels if (value := of(level)) is not None]
                options = method_line(study.names.index(case.name)) | {"markersize": 3.2}
                canvas.line([x for x, _ in points], [y for _, y in points], said, **options)
    return panels


def injections(injection: Injection) -> list[Panel]:
    """What each metric says of equal errors, over the band they are in."""
    panels: list[Panel] = []
    for at, damage in enumerate(injection.damages):
        said = "–" if damage.correlation is None else fixed(damage.correlation, 2)
        title = f"{damage.metric} {'↑' if damage.better == 'higher' else '↓'} ρ = {said}"
        with panel(title, f"{damage.metric} of an error in one band", panels) as canvas:
            canvas.axes.set_xlabel("cycles per pixel")
            canvas.axes.set_ylabel(damage.unit or damage.metric)
            spread = max(damage.values) - min(damage.values)
            if spread < 1e-3 * abs(damage.values[0]):
                middle = damage.values[0]
                canvas.axes.set_ylim(middle - 1, middle + 1)
            canvas.line(injection.frequencies, damage.values, damage.metric + "\n{x} cycles per pixel: {y}", **line(at))
    return panels


def _map(
    case: Case,
    title: str,
    values: Sequence[Sequence[float | None]],
    columns: Sequence[str],
    x: str,
    said: str,
    limit: float,
    decimals: int = 2,
) -> list[Panel]:
    panels: list[Panel] = []
    rows = [number(band.frequency, 2) for band in case.bands]
    height = max(HEIGHT - 40, 60 + ROW * len(rows))
    with panel(title, f"{title}, {case.name}", panels, left=54, height=height) as canvas:
        told = f"{case.name}\n{{row}} cycles per sample, {{column}}: {said}"
        canvas.heat_map(list(reversed(values)), list(reversed(rows)), columns, told, limit, decimals)
        canvas.axes.set_xlabel(x)
        canvas.axes.set_ylabel("cycles per sample")
    return panels


def _of(study: FrequencyBias, names: Iterable[str]) -> list[tuple[int, Case]]:
    return [(study.names.index(name), case) for name in names for case in study.of(name)]


def _token_nyquist(case: Case) -> float:
    """Of one token a patch, in cycles per sample: faster waves lie within tokens."""
    return 0.5 / int(case.denoiser.rpartition("/")[2])


def _over_power(case: Case, errors: Sequence[Sequence[float]], band: int) -> float:
    return sum(level[band] for level in errors) / len(errors) / case.powers[band]


def _over_wiener(case: Case, errors: Sequence[Sequence[float]], band: int) -> float:
    """Geometric mean over noise levels."""
    logs = [math.log(own[band] / level.wiener_errors[band]) for own, level in zip(errors, case.levels, strict=True)]
    return math.exp(sum(logs) / len(logs))


def _of_velocity(case: Case, look: Look, band: int) -> float:
    """Of a coefficient, mean over noise levels."""
    n = case.shape[1] * case.shape[2] / case.bands[band].coefficients
    return sum(level[band] for level in look.velocity_errors) / len(look.velocity_errors) * n


def _forgiven(level: Level) -> float | None:
    if level.seen_error is None or level.wiener_seen_error is None:
        return None
    return level.seen_error / level.wiener_seen_error / (level.relative_error / level.wiener_relative_error)


def _doublings(ratio: float) -> float:
    return math.log2(ratio)


def _update_axis(axes: "Axes", last: int) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlabel("updates + 1")
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(len(str(last)))]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
