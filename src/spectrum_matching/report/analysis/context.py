"""What a reader of the numbers must know: whether they are comparable, their conventions, and where they come from."""

from collections.abc import Sequence

from ...records.analysis import Analysis
from ..digits import fixed, spread
from ..table import attributed, distinct, grouped
from .tables import shape

CONSEQUENCES = {
    "Latent shapes": "Numbers by position or by channel do not compare across shapes: read each beside its own "
    "white-noise value, and rank within one shape only.",
    "Images": "Differences between autoencoders are mixed with differences between images.",
    "Numbers of images": "Effective rank, irreducible variance and the like depend on it.",
    "Image sizes": "A larger picture of the same scene is smoother by pixel, and so are its latents.",
    "Splits": "An autoencoder reconstructs the images that it was trained on better than others.",
    "Precisions": "Half precision adds rounding noise to the latents.",
}
SPLITS = {"held_out": "held out", "train": "training split", "all": "not split"}


def measured_on(analyses: Sequence[Analysis]) -> list[str]:
    """Return one sentence where all were measured on the same images, else one for each."""
    sentences = []
    for sample in (analysis.sample for analysis in analyses):
        if sample.size:
            images = f"the first {sample.n_images} images of {sample.source} ({SPLITS.get(sample.split, sample.split)})"
            sentences.append(f"Measured on {images} at {sample.size} × {sample.size} pixels.")
        else:
            sentences.append(f"Measured on {sample.n_images} latents without their images.")
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
        "Numbers of images": [str(sample.n_images) for sample in samples],
        "Image sizes": [_size(a) for a in analyses],
        "Splits": [SPLITS.get(sample.split, sample.split) for sample in samples],
        "Precisions": [a.provenance.dtype for a in analyses],
    }
    names = [analysis.subject.name for analysis in analyses]
    return [
        f"{title} differ: {grouped(values, names)}. {CONSEQUENCES[title]}"
        for title, values in properties.items()
        if len(set(values)) > 1
    ]


def notes(analyses: Sequence[Analysis]) -> list[str]:
    """Return each note once, with the names of the autoencoders it is about unless it is about all."""
    return attributed([analysis.notes for analysis in analyses], [analysis.subject.name for analysis in analyses])


def conventions(analyses: Sequence[Analysis]) -> list[tuple[str, str]]:
    """Return a title and sentences for each choice among several possible readings."""
    sampled = [a.subject.name for a in analyses if any(view.kind == "sample" for view in a.views)]
    tests = distinct(str(a.decoding.n_tests) for a in analyses if a.decoding)
    transfers = distinct(str(a.decoding.transfer.n_images) for a in analyses if a.decoding and a.decoding.transfer)
    resamplers: dict[str, dict[str, None]] = {}
    for point in (point for analysis in analyses for point in analysis.equivariance):
        resamplers.setdefault(point.resampler or "none", {})[point.transform] = None
    numbers = f"Latents and reconstruction: {' or '.join(distinct(str(a.sample.n_images) for a in analyses))}."
    if tests:
        numbers += f" Low-pass and noise tests of the decoder: the first {' or '.join(tests)}."
    if transfers:
        numbers += f" Transfer between bands: the first {' or '.join(transfers)}."
    samples = f" One sample each is shown beside the means of {', '.join(sampled)}." if sampled else ""
    resampled = "; ".join(f"{resampler} for {', '.join(moves)}" for resampler, moves in resamplers.items())
    return [
        ("latents", f"Posterior means, or the encoder’s output where it has no posterior.{samples}"),
        (
            "standardisation",
            "Cosines, correlations and energy concentration are of latents standardised channel by channel (mean and "
            "standard deviation over images and positions; dead channels left out); “raw” marks those that are not. "
            "Spectra, exponents and gaps are of raw latents, in which a channel weighs by its power.",
        ),
        (
            "energy concentration",
            "Share of the energy at u + v > ρ · (h + w − 2), DC included in the whole. The source does not state ρ: "
            "0.25 and 0.5 are both given, and differ twofold.",
        ),
        *([("resamplers", f"Of the transforms in the equivariance error: {resampled}.")] if resampled else []),
        ("number of images", numbers),
        (
            "uncertainty",
            "± is one standard error over images. Exponents and best deltas: bootstrap over images, 1000 resamples, "
            "intervals of 95 %. It does not cover the choice of images.",
        ),
        (
            "white noise",
            "The value for latents of the same shape without any structure. Read a number by its distance from that.",
        ),
        (
            "one-sided",
            "A blurred or constant latent would get the best value: read these beside PSNR only.",
        ),
    ]


def image_exponents(analyses: Sequence[Analysis]) -> list[str]:
    """Return the exponent of the images on each latent grid."""
    found = [(a.image_on_latent_grid.exponent, a.latent_shape[1:]) for a in analyses if a.image_on_latent_grid]
    return distinct(
        f"{fixed(float(own), 2)} {spread(own.standard_error, 2)} on {h} × {w} positions" for own, (h, w) in found
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
            "weights’ digest": a.subject.digest or "–",
            "normalisation declared": a.normalisation.convention,
            "images": a.sample.source or "–",
            "split": SPLITS.get(a.sample.split, a.sample.split),
            "number, size": f"{a.sample.n_images}, {_size(a)}",
            "images’ digest": a.sample.digest or "–",
            "specmatch": a.provenance.version,
            "commit": a.provenance.commit or "installed package",
            "torch, diffusers": f"{a.provenance.torch}, {a.provenance.diffusers}",
            "device, precision": f"{a.provenance.device}, {a.provenance.dtype}",
            "seed": str(a.provenance.seed),
        }
        for a in analyses
    ]
    return [(title, [column[title] for column in columns]) for title in columns[0]]


def _size(analysis: Analysis) -> str:
    side = analysis.sample.size
    return f"{side} × {side}" if side else "no images"
