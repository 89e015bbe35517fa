"""How much of generation is spectrum, place, or neither: distances to reconstructions of closed-form models."""

from collections.abc import Mapping, Sequence

from ...records.analysis import Analysis
from ...records.measurement import Measurement
from ..canvas import Curve, Panel, by_row, line
from ..digits import number

FLOOR = "fid_reconstructions_floor"
MODELS = {
    "white_fid_reconstructions": "white noise",
    "stationary_fid_reconstructions": "+ spectrum",
    "gaussian_fid_reconstructions": "+ place, channels, class",
    "solved_fid_reconstructions": "+ solved denoiser",
    FLOOR: "reconstructions",
}
"""What each model knows beyond the one before it."""


def generation_figures(analyses: Sequence[Analysis]) -> list[Panel]:
    """Return the figure of the analyses' models without training; none where nothing can be drawn."""
    measured = [analysis.generative.measurements if analysis.generative else {} for analysis in analyses]
    if not any(map(shares_of_generation, measured)):
        return []
    return [what_generation_is([analysis.subject.name for analysis in analyses], measured)]


def what_generation_is(names: Sequence[str], measured: Sequence[Mapping[str, Measurement]]) -> Panel:
    """Draw the distances of each autoencoder's models to its reconstructions, from white noise to their floor.

    measured: the numbers of each of `names` by key, of which refused and missing ones leave gaps. Shares of the way
    from white noise to the floor, so that autoencoders of different scales stand on one axis: where white noise or the
    floor is missing, or the way is none, an autoencoder is left out.
    """
    series = []
    for index, (name, numbers) in enumerate(zip(names, measured, strict=True)):
        shares = shares_of_generation(numbers)
        rows = [row for row, key in enumerate(MODELS) if key in shares]
        values = [shares[key] for key in MODELS if key in shares]
        tips = [f"{name}\n{MODELS[key]}: {number(float(numbers[key]))}" for key in MODELS if key in shares]
        series.append(Curve(values, rows, tips, line(index)))
    return by_row(
        "What generation takes",
        "share of the distance left",
        list(MODELS.values()),
        series,
        label="distance to reconstructions of white noise, the stationary Gaussian, the Gaussian and the solved model",
        left=146,
    )


def shares_of_generation(numbers: Mapping[str, Measurement]) -> dict[str, float]:
    """Return what is left of white noise's distance above the floor, by key of `MODELS`: 1 for white noise, 0 there.

    The step from white noise to the stationary Gaussian is what the spectrum explains, that to the Gaussian what place,
    correlated channels and class explain, the rest what no Gaussian knows. Empty where the scale has no ends.
    """
    values = {key: numbers[key].value for key in MODELS if key in numbers}
    floor, white = values.get(FLOOR), values.get("white_fid_reconstructions")
    if floor is None or white is None or white <= floor:
        return {}
    return {key: (value - floor) / (white - floor) for key, value in values.items() if value is not None}
