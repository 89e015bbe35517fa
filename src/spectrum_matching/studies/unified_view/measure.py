"""From analyses of several methods to what each changed on either side of spectrum matching, against a control."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...records.analysis import Analysis, SpectrumMatch
from ...records.comparison import compare, spread
from ...spectrum.bands import Variant
from .record import Change, GapCurve, MethodReading, Quantity, SeedReading, UnifiedView, Word

VARIANTS: tuple[Variant, ...] = ("scale_free", "paper")
SAID: dict[Variant, str] = {"scale_free": "scale-free", "paper": "the paper’s"}


def unified_view(analyses: Sequence[Analysis], control: str, command: str, delta: float = 1.0) -> UnifiedView:
    """Analyses of one name are the seeds of one method. delta: the flattening that spectra are held against.

    ValueError in one line where the control is not among them, nothing is beside it, one has no images or decoder, two
    are of the same weights, or they are not of the same images, latent shape and tests.
    """
    names = list(dict.fromkeys(analysis.subject.name for analysis in analyses))
    if control not in names:
        raise ValueError(f"--control {control}: no analysis has that name; there are {', '.join(names) or 'none'}")
    if len(names) < 2:
        raise ValueError(f"every analysis is of {control}: name those of another method too, to hold against it")
    _require_alike(analyses)
    first = analyses[0]
    deltas = first.view("mean").match("paper").deltas
    if delta not in deltas:
        raise ValueError(f"--delta {delta:g} was not analyzed; there are {', '.join(f'{d:g}' for d in deltas)}")
    assert first.decoding is not None
    everything = 2 * first.decoding.lowpass_block - 1
    keeps = tuple(point.keep for point in first.decoding.lowpass if point.keep < everything)
    readings = {name: tuple(_seed(a, keeps) for a in analyses if a.subject.name == name) for name in names}
    asked = _quantities(delta, deltas)
    return UnifiedView(
        control=control,
        delta=delta,
        deltas=deltas,
        keeps=keeps,
        block=first.decoding.lowpass_block,
        latent_shape=first.latent_shape,
        images=f"{first.sample.n_images:,} images of {first.sample.source}, {first.sample.split}, of "
        f"{first.sample.size} × {first.sample.size} pixels; {first.decoding.n_tests:,} of them low-passed",
        quantities=tuple(quantity for quantity, _ in asked),
        methods=tuple(
            MethodReading(name, seeds, tuple(_change(quantity, of, seeds, readings[control]) for quantity, of in asked))
            for name, seeds in readings.items()
        ),
        command=command,
        provenance=first.provenance,
        notes=_notes(analyses, readings),
    )


class _Asked(NamedTuple):
    """A quantity, and how it is read off a seed."""

    quantity: Quantity
    of: Callable[[SeedReading], float]


def _quantities(delta: float, deltas: Sequence[float]) -> list[_Asked]:
    return [
        *(asked for variant in VARIANTS for asked in _of_spectrum(variant, delta, deltas.index(delta))),
        _Asked(
            Quantity("lowpass_gap", "low-pass gap, mean over keep", "dB", "decoding", "down"),
            lambda seed: statistics.mean(seed.gaps),
        ),
        _Asked(
            Quantity("lowpass_psnr", "low-pass PSNR, mean over keep", "dB", "decoding", "up"),
            lambda seed: statistics.mean(seed.decoded),
        ),
        _Asked(Quantity("psnr", "PSNR of reconstructions", "dB", "neither", ""), lambda seed: seed.psnr),
    ]


def _of_spectrum(variant: Variant, delta: float, place: int) -> list[_Asked]:
    said = SAID[variant]
    return [
        _Asked(
            Quantity(f"gap_{variant}", f"gap at delta {delta:g}, {said}", "nats", "encoding", "down"),
            lambda seed: seed.curve(variant).gaps[place],
        ),
        _Asked(
            Quantity(f"best_gap_{variant}", f"gap at the best delta, {said}", "nats", "encoding", "down"),
            lambda seed: seed.curve(variant).best_gap,
        ),
        _Asked(
            Quantity(f"best_delta_{variant}", f"best delta, {said}", "", "neither", ""),
            lambda seed: seed.curve(variant).best_delta,
        ),
    ]


def _change(
    quantity: Quantity, of: Callable[[SeedReading], float], own: Sequence[SeedReading], control: Sequence[SeedReading]
) -> Change:
    values, others = [of(seed) for seed in own], [of(seed) for seed in control]
    centre = statistics.mean(others)
    changes = [value - centre for value in values]
    half_range = (max(changes) - min(changes)) / 2
    word = _word(quantity, values, others)
    return Change(quantity.key, tuple(values), tuple(changes), statistics.mean(changes), half_range, word)


def _word(quantity: Quantity, values: Sequence[float], others: Sequence[float]) -> Word:
    outcome = compare(spread(values), spread(others))
    if outcome == "undecided":
        return "undecided"
    if not quantity.acts:
        return outcome
    return "acts" if (outcome == "lower") == (quantity.acts == "down") else "does not"


def _seed(analysis: Analysis, keeps: Sequence[int]) -> SeedReading:
    assert analysis.decoding is not None
    points = {point.keep: point for point in analysis.decoding.lowpass}
    return SeedReading(
        source=analysis.subject.source,
        digest=analysis.subject.digest,
        psnr=float(analysis.decoding.measurements["psnr"]),
        curves=tuple(_curve(analysis.view("mean").match(variant)) for variant in VARIANTS),
        decoded=tuple(float(points[keep].decoded) for keep in keeps),
        aligned=tuple(float(points[keep].aligned) for keep in keeps),
        gaps=tuple(float(points[keep].gap) for keep in keeps),
    )


def _curve(match: SpectrumMatch) -> GapCurve:
    return GapCurve(match.variant, tuple(map(float, match.gaps)), match.best_delta, match.best_gap)


def _require_alike(analyses: Sequence[Analysis]) -> None:
    whose: dict[str, str] = {}
    for analysis in analyses:
        name = analysis.subject.name
        if not analysis.view("mean").matches:
            raise ValueError(f"{name} was analyzed without images: there is no spectrum to hold its latents against")
        if analysis.decoding is None or not analysis.decoding.lowpass:
            raise ValueError(f"{name} has no low-pass decoding curve: analyze an autoencoder, not cached latents")
        digest = analysis.subject.digest
        if digest in whose:
            raise ValueError(f"{whose[digest]} and {name} are of the same weights ({digest}): name each training once")
        whose[digest] = name
    first = analyses[0]
    for analysis in analyses[1:]:
        for what, one, other in zip(("images", "latents", "tests"), _kind(first), _kind(analysis), strict=True):
            if one != other:
                raise ValueError(
                    f"{first.subject.name} and {analysis.subject.name} differ in their {what} ({one} and {other}): "
                    f"compare like with like"
                )


def _kind(analysis: Analysis) -> tuple[str, str, str]:
    """What must be the same: images, shape of latents, tests of the decoder and of the spectrum."""
    sample, decoding, matches = analysis.sample, analysis.decoding, analysis.view("mean").matches
    assert decoding is not None
    keeps = ", ".join(str(point.keep) for point in decoding.lowpass)
    return (
        f"{sample.n_images} of {sample.source} {sample.digest}, {sample.size} pixels",
        " x ".join(map(str, analysis.latent_shape)),
        f"{decoding.n_tests} images, block {decoding.lowpass_block}, keep {keeps}, "
        f"{len(matches[0].deltas)} deltas from {matches[0].deltas[0]:g} to {matches[0].deltas[-1]:g}",
    )


def _notes(analyses: Sequence[Analysis], readings: dict[str, tuple[SeedReading, ...]]) -> tuple[str, ...]:
    alone = [name for name, seeds in readings.items() if len(seeds) < 2]
    codes = list(dict.fromkeys(f"{a.provenance.version} {a.provenance.commit}".strip() for a in analyses))
    return (
        *([f"One seed of {', '.join(alone)}: there is no spread, and nothing is decided."] if alone else []),
        *([f"The analyses were made by different code: {', '.join(codes)}."] if len(codes) > 1 else []),
    )
