"""Context of the numbers: comparability, conventions, provenance."""

from collections.abc import Sequence
from typing import NamedTuple

from ...records.analysis import KINDS, Analysis, Finding
from ..digits import fixed, spread
from ..table import attributed, distinct, grouped, provenance_rows
from .tables import shape

CONSEQUENCES = {
    "Latent shapes": "Numbers by position or by channel do not compare across shapes: read each beside its own "
    "white-noise value, and rank within one shape only.",
    "Images": "Differences between autoencoders are mixed with differences between images.",
    "Numbers of images": "Effective rank, irreducible variance and the like depend on it.",
    "Image sizes": "A larger picture of the same scene is smoother by pixel, and so are its latents.",
    "Splits": "An autoencoder reconstructs the images that it was trained on better than others.",
    "Precisions": "Half precision adds rounding noise to the latents.",
    "Protocols of generation without training": "These distances depend on the reference, its number and the features.",
}
SPLITS = {"held_out": "held out", "train": "training split", "all": "not split"}


def measured_on(analyses: Sequence[Analysis]) -> list[str]:
    """Return one sentence where all were measured on the same images, else one for each."""
    sentences = []
    for sample in (analysis.sample for analysis in analyses):
        if sample.size:
            images = f"{sample.coverage}, from {sample.source} ({SPLITS.get(sample.split, sample.split)})"
            sentences.append(f"Measured on {images}, at {sample.size} × {sample.size} pixels.")
        else:
            sentences.append(f"Measured on the latents of {sample.coverage}, without the images.")
    return sentences[:1] if len(set(sentences)) == 1 else sentences


def comparability(analyses: Sequence[Analysis]) -> list[str]:
    """Return one warning for each property in which these analyses differ."""
    samples = [analysis.sample for analysis in analyses]
    images: dict[str, str] = {}  # the first source of each digest
    for sample in samples:
        images.setdefault(sample.digest or sample.source, f"{sample.source} {sample.digest}".strip() or "no images")
    properties = {
        "Latent shapes": [shape(a) for a in analyses],
        "Images": [images[sample.digest or sample.source] for sample in samples],
        "Numbers of images": [str(sample.coverage) for sample in samples],
        "Image sizes": [_size(a) for a in analyses],
        "Splits": [SPLITS.get(sample.split, sample.split) for sample in samples],
        "Precisions": [a.provenance.dtype for a in analyses],
        "Protocols of generation without training": [_generated_by(a) for a in analyses if a.generative],
    }
    names = [analysis.subject.name for analysis in analyses]
    generating = [analysis.subject.name for analysis in analyses if analysis.generative]
    return [
        f"{title} differ: {grouped(values, names if len(values) == len(names) else generating)}. {CONSEQUENCES[title]}"
        for title, values in properties.items()
        if len(set(values)) > 1
    ]


class Said(NamedTuple):
    """A finding, its evidence, and what to try: the names of whom a command is for, "" for all, and the command."""

    finding: Finding
    evidence: list[str]
    commands: list[tuple[str, str]]


def shared_findings(analyses: Sequence[Analysis]) -> list[Said]:
    """Return the findings that several autoencoders have in the same words, which are said once."""
    names, first = [analysis.subject.name for analysis in analyses], analyses[0].findings if len(analyses) > 1 else ()
    shared = []
    for finding in first:
        same = [each for a in analyses for each in a.findings if _words(each) == _words(finding)]
        if len(same) == len(analyses):
            evidence = attributed([[each.evidence] for each in same], names)
            commands = {each.command for each in same}
            those = (
                [("", finding.command)] if len(commands) == 1 else zip(names, (s.command for s in same), strict=True)
            )
            shared.append(Said(finding, evidence, [(name, command) for name, command in those if command]))
    return shared


def own_findings(analysis: Analysis, shared: Sequence[Said]) -> list[Said]:
    """Return the findings of one autoencoder beside those that it shares."""
    said = [_words(each.finding) for each in shared]
    own = (finding for finding in analysis.findings if _words(finding) not in said)
    return [Said(each, [each.evidence], [("", each.command)] if each.command else []) for each in own]


def _words(finding: Finding) -> tuple[str, str, str]:
    return finding.key, finding.verdict, finding.advice


def notes(analyses: Sequence[Analysis]) -> list[str]:
    """Return each note once, with the names of the autoencoders it is about unless it is about all."""
    return attributed([analysis.notes for analysis in analyses], [analysis.subject.name for analysis in analyses])


def image_counts(analyses: Sequence[Analysis]) -> str:
    """Return the numbers of images on which each part was measured."""
    n_images = distinct(str(a.sample.n_images) for a in analyses)
    tests = distinct(str(a.decoding.n_tests) for a in analyses if a.decoding)
    transfers = distinct(str(a.decoding.transfer.n_images) for a in analyses if a.decoding and a.decoding.transfer)
    sentences = [f"Latents and reconstruction: {' or '.join(n_images)}."]
    sentences += [f"Low-pass and noise tests of the decoder: {' or '.join(tests)} of these."] if tests else []
    sentences += [f"Transfer between bands: {' or '.join(transfers)}."] if transfers else []
    return " ".join(sentences)


def resamplers(analyses: Sequence[Analysis]) -> str:
    """Return the resamplers of the transforms in the equivariance error, "area for half size; none for mirrored"."""
    points = [point for analysis in analyses for point in analysis.equivariance]
    return "; ".join(
        f"{resampler or 'none'} for {', '.join(distinct(p.transform for p in points if p.resampler == resampler))}"
        for resampler in distinct(point.resampler for point in points)
    )


def image_exponents(analyses: Sequence[Analysis]) -> list[str]:
    """Return the exponent of the images on each latent grid."""
    exponents = [(a.image_on_latent_grid.exponent, a.latent_shape[1:]) for a in analyses if a.image_on_latent_grid]
    return distinct(
        f"{fixed(exponent.value, 2)} {spread(exponent.standard_error, 2)} on {h} × {w} positions"
        for exponent, (h, w) in exponents
        if exponent.value is not None
    )


def bad_files(analyses: Sequence[Analysis]) -> list[str]:
    """Return each file that could not be read, once."""
    return distinct(file for analysis in analyses for file in analysis.sample.bad_files)


def provenance(analyses: Sequence[Analysis]) -> list[tuple[str, list[str]]]:
    """Return a title and one value for each autoencoder."""
    columns = [
        {
            "weights": a.subject.source,
            "class": a.subject.kind,
            "parameters": f"{a.subject.parameters:,}" if a.subject.parameters else "–",
            "digest": a.subject.digest or "–",
            "normalisation declared": a.normalisation.convention,
            "images": a.sample.source or "–",
            "split": SPLITS.get(a.sample.split, a.sample.split),
            "number, size": f"{a.sample.coverage}, {_size(a)}",
            "images’ digest": a.sample.digest or "–",
            "generation without training": _generated_by(a),
            **provenance_rows(a.provenance),
        }
        for a in analyses
    ]
    return [(title, [column[title] for column in columns]) for title in columns[0]]


def _generated_by(analysis: Analysis) -> str:
    """Return what distances without training rest on beside the autoencoder; "–" where none were measured."""
    if (g := analysis.generative) is None:
        return "–"
    features = f"{g.extractor or 'an unnamed function'} {g.extractor_digest[:8]} {g.resizer}".strip()
    return f"{g.coverage}, {KINDS[g.holds]}; features {features}"


def _size(analysis: Analysis) -> str:
    side = analysis.sample.size
    return f"{side} × {side}" if side else "no images"
