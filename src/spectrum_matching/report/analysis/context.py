"""What a reader of the numbers must know: whether like is compared with like, by which conventions, and from where."""

from collections.abc import Sequence

from ...records.analysis import Analysis
from ..digits import fixed, spread
from ..table import distinct
from .tables import shape

SPLITS = {"held_out": "held out", "train": "training split", "all": "not split"}


def measured_on(analyses: Sequence[Analysis]) -> list[str]:
    """One sentence where all were measured on the same, else one for each."""
    said = []
    for analysis in analyses:
        own = analysis.sample
        if own.size:
            of = f"the first {own.n_images} images of {own.source} ({SPLITS.get(own.split, own.split)})"
            said.append(f"Measured on {of} at {own.size} × {own.size} pixels.")
        else:
            said.append(f"Measured on {own.n_images} latents without their images.")
    return said[:1] if len(set(said)) == 1 else said


def comparability(analyses: Sequence[Analysis]) -> list[str]:
    """One warning for each way in which these analyses are not of like things."""
    samples = [a.sample for a in analyses]
    sources = [s.digest or s.source for s in samples]
    compared: tuple[tuple[str, list[str], list[str], str], ...] = (
        (
            "Latent shapes differ",
            [shape(a) for a in analyses],
            [],
            "Numbers by cell or by channel do not compare across shapes: read each beside its own white-noise value, "
            "and rank within one shape only.",
        ),
        (
            "Images differ",
            sources,
            [s.source or "no images" for s in samples],
            "Differences between autoencoders are mixed with differences between images.",
        ),
        (
            "Numbers of images differ",
            [str(s.n_images) for s in samples],
            [],
            "Effective rank, irreducible variance and the like depend on it.",
        ),
        (
            "Image sizes differ",
            [f"{s.size} × {s.size}" if s.size else "no images" for s in samples],
            [],
            "A larger picture of the same scene is smoother by pixel, and so are its latents.",
        ),
        (
            "Splits differ",
            [SPLITS.get(s.split, s.split) for s in samples],
            [],
            "An autoencoder reconstructs the images that it was trained on better than others.",
        ),
        (
            "Precisions differ",
            [a.provenance.dtype for a in analyses],
            [],
            "Half precision adds rounding noise to the latents.",
        ),
    )
    warnings = []
    for what, values, shown, why in compared:
        if len(set(values)) > 1:
            groups = _grouped(analyses, values, shown or values)
            warnings.append(f"{what}: {groups}. {why}")
    return warnings


def _grouped(analyses: Sequence[Analysis], values: Sequence[str], shown: Sequence[str]) -> str:
    """ "32 × 32 × 32 (A, C); 16 × 8 × 8 (B)"."""
    said = []
    for value in distinct(values):
        names = [a.subject.name for a, own in zip(analyses, values, strict=True) if own == value]
        said.append(f"{shown[values.index(value)]} ({', '.join(names)})")
    return "; ".join(said)


def notes(analyses: Sequence[Analysis]) -> list[str]:
    """Each note once, with the names of those it is about unless it is about all."""
    said = []
    for note in distinct(note for analysis in analyses for note in analysis.notes):
        names = [analysis.subject.name for analysis in analyses if note in analysis.notes]
        said.append(note if len(names) == len(analyses) else f"{', '.join(names)}: {note}")
    return said


def conventions(analyses: Sequence[Analysis]) -> list[tuple[str, str]]:
    """By which of several possible readings the numbers were made: a title and its sentences."""
    sampled = [a.subject.name for a in analyses if any(view.kind == "sample" for view in a.views)]
    tests = distinct(str(a.decoding.n_tests) for a in analyses if a.decoding)
    transfers = distinct(str(a.decoding.transfer.n_images) for a in analyses if a.decoding and a.decoding.transfer)
    points = [point for analysis in analyses for point in analysis.equivariance]
    resampled = [
        f"{resampler or 'none'} for {', '.join(distinct(p.move for p in points if p.resampler == resampler))}"
        for resampler in distinct(point.resampler for point in points)
    ]
    n_images = " or ".join(distinct(str(a.sample.n_images) for a in analyses))
    numbers = f"Latents and reconstruction: {n_images}."
    if tests:
        numbers += f" Low-pass and noise tests of the decoder: the first {' or '.join(tests)}."
    if transfers:
        numbers += f" Transfer between bands: the first {' or '.join(transfers)}."
    said = [
        (
            "latents",
            "Posterior means, or what the encoder gives where it has no posterior."
            + (f" One sample each is shown beside the means of {', '.join(sampled)}." if sampled else ""),
        ),
        (
            "standardisation",
            "Cosines, correlations and energy concentration are of latents standardised channel by channel (mean and "
            "standard deviation over images and cells; dead channels left out); “raw” marks those that are not. "
            "Spectra, exponents and gaps are of raw latents, in which a channel weighs by its power.",
        ),
        (
            "energy concentration",
            "Share of the energy at u + v > ρ · (h + w − 2), DC included in the whole. The source does not state ρ: "
            "0.25 and 0.5 are both given, and differ twofold.",
        ),
        ("number of images", numbers),
        (
            "uncertainty",
            "± is one standard error over images. Exponents and best deltas: bootstrap over images, 1000 resamples, "
            "intervals of 95 %. It says nothing of other images than these.",
        ),
        (
            "white noise",
            "What latents of the same shape without any structure give. A number is read by its distance from that.",
        ),
        (
            "one-sided",
            "A blurred or constant latent would win these, so they stand beside PSNR, and mean nothing without it.",
        ),
    ]
    if resampled:
        said.insert(3, ("resamplers", f"Of the moves in the equivariance error: {'; '.join(resampled)}."))
    return said


def image_exponents(analyses: Sequence[Analysis]) -> list[str]:
    """Of the images, on each latent grid."""
    found = ((a.image_on_latent_grid, a.latent_shape[1:]) for a in analyses)
    return distinct(
        f"{fixed(float(own.exponent), 2)} {spread(own.exponent.standard_error, 2)} on {h} × {w} cells"
        for own, (h, w) in found
        if own
    )


def bad_files(analyses: Sequence[Analysis]) -> list[str]:
    """Each once."""
    return distinct(file for analysis in analyses for file in analysis.sample.bad_files)


def provenance(analyses: Sequence[Analysis]) -> list[tuple[str, list[str]]]:
    """A title and one value for each autoencoder."""
    columns = [
        {
            "weights": a.subject.source,
            "class": a.subject.kind,
            "parameters": f"{a.subject.parameters:,}" if a.subject.parameters else "–",
            "weights’ digest": a.subject.digest or "–",
            "normalisation declared": a.normalisation.convention,
            "images": a.sample.source or "–",
            "split": SPLITS.get(a.sample.split, a.sample.split),
            "number, size": f"{a.sample.n_images}, " + (f"{a.sample.size} × {a.sample.size}" if a.sample.size else "–"),
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
