"""What `evaluate` scored, with the protocol that the scores depend on: the only input of a comparison's report."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..files.documents import Document
from .analysis import Provenance
from .measurement import Measurement


@dataclass(frozen=True)
class Sampling:
    """How images were generated. digests: of weights, 16 hexadecimal digits; "" where there is no autoencoder.

    step: optimizer updates behind the denoiser. evaluations: denoiser calls an image, two where guidance acts.
    guidance: scale of classifier-free guidance, 1 for none; guidance_interval: the t in which it acts. labels:
    "balanced", "random", "none", or one class.
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


@dataclass(frozen=True)
class Protocol:
    """What a score depends on beside the images: scores of different protocols cannot be compared.

    resizer: how images reach the extractor's size. rounding: how they became bytes beforehand, "none" where they did
    not. sampling: None for reconstructions, and for images of unknown making.
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


@dataclass(frozen=True)
class BandPower:
    """Mean power of images by radial band. frequency: cycles per pixel. error: 10 log10(power / reference) in dB."""

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


# What a comparison is about may differ: whose images they are, and the random numbers behind them.
SUBJECT = {"denoiser", "denoiser_digest", "step", "autoencoder", "autoencoder_digest", "seed", "n_images"}


# A label beside the digest that says the same for certain.
LABELS = {"reference", "extractor", "sampling"}


def protocol_differences(evaluations: Sequence[Evaluation]) -> list[str]:
    """A line for each thing that differs, such as "steps: a 50, b 250"; empty where scores can be compared."""
    columns = [_settings(evaluation.protocol) for evaluation in evaluations]
    names = dict.fromkeys(name for column in columns for name in column)
    lines = []
    for name in names:
        values = [column.get(name, "unknown") for column in columns]
        if len(set(values)) > 1:
            said = ", ".join(f"{e.name} {value}" for e, value in zip(evaluations, values, strict=True))
            lines.append(f"{name.replace('_', ' ')}: {said}")
    return lines


def _settings(protocol: Protocol) -> dict[str, str]:
    own = {f.name: getattr(protocol, f.name) for f in dataclasses.fields(protocol) if f.name not in LABELS}
    if protocol.sampling is not None:
        sampling = protocol.sampling
        own |= {f.name: getattr(sampling, f.name) for f in dataclasses.fields(sampling) if f.name not in SUBJECT}
    return {name: str(value) for name, value in own.items()}
