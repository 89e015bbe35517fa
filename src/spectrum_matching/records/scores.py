"""Scores of images, with the protocol that they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..files.documents import Document
from ..files.names import quoted
from .analysis import Provenance
from .coverage import Coverage
from .measurement import Measurement

SAMPLES_RECORD = "samples.json"
"""The file in a folder of samples that records how they were generated."""


@dataclass(frozen=True)
class Sampling:
    """Settings by which images were sampled.

    denoiser_digest, autoencoder_digest: 16 hexadecimal digits; "" without an autoencoder. step: optimizer
    updates of the denoiser. evaluations: denoiser calls an image, two where guidance acts. guidance: scale of
    classifier-free guidance, 1 for none; guidance_interval: t in which it acts; guidance_channels: the first
    channels that it acts on, 0 for all; guidance_by: whose time tells, the evaluation's or the step's. last_step,
    end, shift: of the grid of times, as in `time_grid`. labels: "balanced", "random", "none",
    or one class. tile: side in pixels of the tiles in which larger images were decoded; None: whole. normalisation,
    gain: of the latents that were sampled: the convention of their `LatentSpace`, and the digest of its spectral gain
    with the rotation before it, "" without.
    """

    denoiser: str
    denoiser_digest: str
    step: int
    averaged: bool
    autoencoder: str
    autoencoder_digest: str
    path: str
    prediction: str
    sampler: str
    steps: int
    evaluations: int
    guidance: float
    guidance_interval: tuple[float, float]
    labels: str
    n_images: int
    seed: int
    dtype: str
    last_step: float = 0.0
    end: float = 0.0
    shift: float = 1.0
    guidance_channels: int = 0
    guidance_by: str = "evaluation"
    tile: int | None = None
    normalisation: str = "none"
    gain: str = ""


@dataclass(frozen=True)
class Protocol:
    """Everything but the images that a score depends on: scores of different protocols cannot be compared.

    resizer: how images are resized for the extractor. rounding: how they became bytes before, "none" if they did not.
    sampling: None for reconstructions, and for images of unknown origin. images, reference_images: of how many in their
    sets. kept_images, kept_reference: those whose features and patches precision, recall, kernel and sliced distances
    take, one by one. None where it is unknown. reconstructions, reconstructions_digest, n_reconstructions,
    reconstructions_size: the decoded images that generated ones are compared with as well, by which autoencoder, how
    many and of which side in pixels; "" and 0 without. tile: of the tiles in which larger images were reconstructed;
    None: whole, or none were.
    """

    n_images: int
    n_reference: int
    size: int
    reference: str
    reference_digest: str
    extractor: str
    extractor_digest: str
    resizer: str
    rounding: str
    sampling: Sampling | None
    images: Coverage | None = None
    kept_images: Coverage | None = None
    reference_images: Coverage | None = None
    kept_reference: Coverage | None = None
    reconstructions: str = ""
    reconstructions_digest: str = ""
    n_reconstructions: int = 0
    reconstructions_size: int = 0
    tile: int | None = None


@dataclass(frozen=True)
class BandPower:
    """Mean power of images in a radial band. frequency: cycles per pixel. error: 10 log10(power / reference) in dB."""

    frequency: float
    power: float
    reference: float
    error: float


@dataclass(frozen=True)
class Evaluation:
    """The scores of one set of images, or of one autoencoder's reconstructions, by the keys of `metrics.SCORES`."""

    name: str
    kind: Literal["generation", "reconstruction"]
    scores: Mapping[str, Measurement]
    spectrum: tuple[BandPower, ...]
    protocol: Protocol
    provenance: Provenance
    warnings: tuple[str, ...]

    def value(self, key: str) -> float | None:
        """Return the value of one score; None if it was refused or not computed."""
        return self.scores[key].value if key in self.scores else None


EVALUATIONS = Document(list[Evaluation], "specmatch-scores-2", "evaluations", "run `specmatch evaluate` again")
"""scores.json."""

# What may differ in a comparison: the models, and the random numbers.
SUBJECT = {"denoiser", "denoiser_digest", "step", "autoencoder", "autoencoder_digest", "seed", "n_images"}
SUBJECT |= {"normalisation", "gain"}
# Names of what a digest identifies, and what follows from numbers of images and the reference.
LABELS = {"reference", "extractor", "sampling", "images", "kept_images", "reference_images", "kept_reference"}
LABELS |= {"reconstructions", "reconstructions_digest"}


def protocol_differences(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return a line for each setting that differs, such as "steps: a 50, b 250"; none if scores can be compared."""
    columns = []
    for protocol in (evaluation.protocol for evaluation in evaluations):
        sampling = vars(protocol.sampling) if protocol.sampling else {}
        settings = {name: value for name, value in vars(protocol).items() if name not in LABELS}
        columns.append(settings | {name: value for name, value in sampling.items() if name not in SUBJECT})
    lines = []
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [str(column.get(name, "unknown")) for column in columns]
        if len(set(values)) > 1:
            pairs = ", ".join(f"{quoted(e.name)} {value}" for e, value in zip(evaluations, values, strict=True))
            lines.append(f"{name.replace('_', ' ')}: {pairs}")
    return lines
