"""The record of generation without training: distances of the images of fitted models, and their protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..files.documents import Document
from .coverage import Coverage
from .measurement import Measurement


@dataclass(frozen=True)
class Generative:
    """Distances of images that models of the latents draw without training; numbers of other protocols do not compare.

    measurements: by the keys of `metrics.METRICS`. reference: source of the latents that models are fitted to, holds:
    what of each posterior; reference_digest: of their images, or of a cache's files where it does not know its images;
    coverage: how many of how many, and of how many classes, which models by class tell apart. n_evaluated: images that
    each model's are compared with, and that interpolation starts from, once each; n_generated: images of each other
    model. extractor, extractor_digest, resizer: of the features; "" where unknown.
    """

    measurements: Mapping[str, Measurement]
    reference: str
    reference_digest: str
    holds: Literal["sample", "mean"]
    coverage: Coverage
    n_evaluated: int
    n_generated: int
    extractor: str
    extractor_digest: str
    resizer: str


GENERATIVE = Document(Generative, "specmatch-generative-1", "generation without training", "run the same command again")
"""generative.json of a stage."""
