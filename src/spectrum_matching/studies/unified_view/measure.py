"""The unified view, computed from saved analyses: what each method changes on either side, against a control."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from ...files.names import listed
from ...metrics.pooled import differences
from ...records.analysis import Analysis
from ...spectrum.bands import Variant
from .record import VARIANTS, Change, GapCurve, MethodResult, Outcome, Quantity, SeedResult, UnifiedView

Getter = Callable[[SeedResult], float]


def measure_unified_view(analyses: Sequence[Analysis], control: str, command: str, delta: float = 1.0) -> UnifiedView:
    """Compare methods with the control; analyses with the same name are seeds of one method.

    delta: flattening of the images' spectrum with which that of the latents is compared.

    Raises:
        ValueError: if the control or a method beside it is missing; if an analysis has no images or decoder, or the
            weights of another; if images, latent shapes or tests differ.
    """
    names = list(dict.fromkeys(analysis.subject.name for analysis in analyses))
    if control not in names:
        raise ValueError(f"--control {control}: no analysis has that name; there are {listed(names) or 'none'}")
    if len(names) < 2:
        raise ValueError(f"every analysis is of {control}: name those of another method too, to compare with it")
    _require_comparable(analyses)
    first = analyses[0]
    deltas = first.view("mean").match("paper").deltas
    if delta not in deltas:
        raise ValueError(f"--delta {delta:g} was not analyzed; there are {', '.join(f'{d:g}' for d in deltas)}")
    assert first.decoding is not None
    everything = first.decoding.diagonals
    keeps = tuple(point.keep for point in first.decoding.lowpass if point.keep < everything)
    results = {name: [_seed(a, keeps) for a in analyses if a.subject.name == name] for name in names}
    quantities = _quantities(delta, deltas)
    return UnifiedView(
        control=control,
        delta=delta,
        deltas=deltas,
        keeps=keeps,
        block=first.decoding.lowpass_block,
        latent_shape=first.latent_shape,
        images=f"{first.sample.coverage} ({first.sample.source}, {first.sample.split}), of "
        f"{first.sample.size} × {first.sample.size} pixels; {first.decoding.n_tests:,} of them low-passed",
        quantities=tuple(quantities),
        methods=_methods(results, control, quantities),
        command=command,
        provenance=first.provenance,
        notes=_notes(analyses, [name for name, seeds in results.items() if len(seeds) < 2]),
    )


def _quantities(delta: float, deltas: Sequence[float]) -> dict[Quantity, Getter]:
    """Return the quantities of the study, and how each is taken from a seed."""

    def spectrum(variant: Variant) -> dict[Quantity, Getter]:
        name = VARIANTS[variant]
        gap = Quantity(f"gap_{variant}", f"gap at delta {delta:g}, {name}", "nats", "encoding", "down")
        best_gap = Quantity(f"best_gap_{variant}", f"gap at the best delta, {name}", "nats", "encoding", "down")
        best_delta = Quantity(f"best_delta_{variant}", f"best delta, {name}", "", "neither", "")
        return {
            gap: lambda seed: seed.curve(variant).gaps[deltas.index(delta)],
            best_gap: lambda seed: seed.curve(variant).best_gap,
            best_delta: lambda seed: seed.curve(variant).best_delta,
        }

    lowpass_gap = Quantity("lowpass_gap", "low-pass gap, mean over keep", "dB", "decoding", "down")
    lowpass_psnr = Quantity("lowpass_psnr", "low-pass PSNR, mean over keep", "dB", "decoding", "up")
    psnr = Quantity("psnr", "PSNR of reconstructions", "dB", "neither", "")
    return {
        **spectrum("scale_free"),
        **spectrum("paper"),
        lowpass_gap: lambda seed: mean(seed.gaps),
        lowpass_psnr: lambda seed: mean(seed.decoded),
        psnr: lambda seed: seed.psnr,
    }


def _methods(
    results: Mapping[str, Sequence[SeedResult]], control: str, quantities: Mapping[Quantity, Getter]
) -> tuple[MethodResult, ...]:
    names, changes = list(results), {name: list[Change]() for name in results}
    for quantity, of in quantities.items():
        values = [tuple(map(of, results[name])) for name in names]
        against = names.index(control)
        found = differences(values, [(i, against) for i in range(len(names)) if i != against])
        for i, name in enumerate(names):
            shifts = tuple(value - mean(values[against]) for value in values[i])
            word: Outcome = found[i, against].word if (i, against) in found else "undecided"
            if quantity.acts and word != "undecided":
                word = "acts" if (word == "lower") == (quantity.acts == "down") else "worse"
            half_range = (max(shifts) - min(shifts)) / 2
            changes[name].append(Change(quantity.key, values[i], shifts, mean(shifts), half_range, word))
    return tuple(MethodResult(name, tuple(results[name]), tuple(changes[name])) for name in names)


def _seed(analysis: Analysis, keeps: Sequence[int]) -> SeedResult:
    assert analysis.decoding is not None
    matches = [analysis.view("mean").match(variant) for variant in VARIANTS]
    points = [point for keep in keeps for point in analysis.decoding.lowpass if point.keep == keep]
    return SeedResult(
        source=analysis.subject.source,
        digest=analysis.subject.digest,
        psnr=float(analysis.decoding.measurements["psnr"]),
        curves=tuple(GapCurve(m.variant, tuple(map(float, m.gaps)), m.best_delta, m.best_gap) for m in matches),
        decoded=tuple(float(point.decoded) for point in points),
        aligned=tuple(float(point.aligned) for point in points),
        gaps=tuple(float(point.gap) for point in points),
    )


def _require_comparable(analyses: Sequence[Analysis]) -> None:
    names: dict[str, str] = {}
    for analysis in analyses:
        name, digest = analysis.subject.name, analysis.subject.digest
        if not analysis.view("mean").matches:
            raise ValueError(f"{name} was analyzed without images: there is no spectrum to compare its latents with")
        if analysis.decoding is None or not analysis.decoding.lowpass:
            raise ValueError(f"{name} has no low-pass decoding curve: analyze an autoencoder, not cached latents")
        if digest in names:
            raise ValueError(f"{names[digest]} and {name} are of the same weights ({digest}): name each training once")
        names[digest] = name
    first = _conditions(analyses[0])
    for analysis in analyses[1:]:
        for what, other in _conditions(analysis).items():
            if first[what] != other:
                both = f"{analyses[0].subject.name} and {analysis.subject.name}"
                raise ValueError(f"{both} differ in their {what} ({first[what]} and {other}): compare like with like")


def _conditions(analysis: Analysis) -> dict[str, str]:
    """Describe what must be the same; images by their digest, as one folder has several paths."""
    sample, decoding, match = analysis.sample, analysis.decoding, analysis.view("mean").matches[0]
    assert decoding is not None
    keeps = ", ".join(str(point.keep) for point in decoding.lowpass)
    return {
        "images": f"{sample.n_images} of the set {sample.digest or sample.source}, {sample.size} pixels",
        "latents": " x ".join(map(str, analysis.latent_shape)),
        "tests": f"{decoding.n_tests} images, block {decoding.lowpass_block}, keep {keeps}, "
        f"{len(match.deltas)} deltas from {match.deltas[0]:g} to {match.deltas[-1]:g}",
    }


def _notes(analyses: Sequence[Analysis], single: Sequence[str]) -> tuple[str, ...]:
    codes = list(dict.fromkeys(f"{a.provenance.version} {a.provenance.commit}".strip() for a in analyses))
    return (
        *([f"One seed of {', '.join(single)}: there is no spread, and nothing is decided."] if single else []),
        *([f"The analyses were made by different code: {', '.join(codes)}."] if len(codes) > 1 else []),
    )
