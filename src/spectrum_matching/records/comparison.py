"""Records of a comparison: methods × seeds at equal training cost; the only input of its report."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..files.documents import Document
from .analysis import Provenance, Spectrum
from .generative import Generative
from .scores import Evaluation

Stage = Literal[
    "autoencoder", "analysis", "reconstruction", "cache", "targets", "generative", "diffusion", "samples", "scores"
]


@dataclass(frozen=True)
class CurvePoint:
    """Mean of the diffusion losses logged since the previous point."""

    step: int
    loss: float


@dataclass(frozen=True)
class Trial:
    """One method from one seed, from images to scores; method: the plan's name of the entry.

    numbers: of the autoencoder, by the keys of `metrics.METRICS`. latent_spectrum: of posterior means at unit scale.
    samples: some generated images, spread over all, as one PNG, in base64. seconds: of each stage, by name; a stage
    that entries share counts for one of them. digests: of weights. generative: what models of these latents generate
    without training; None without features to compare images by.
    """

    method: str
    seed: int
    numbers: Mapping[str, float]
    latent_spectrum: Spectrum
    reconstruction: Evaluation
    generation: Evaluation
    curve: tuple[CurvePoint, ...]
    samples: str
    seconds: Mapping[str, float]
    autoencoder_digest: str
    denoiser_digest: str
    generative: Generative | None = None


@dataclass(frozen=True)
class Comparison:
    """All finished trials of a plan, which is kept as YAML.

    control: the method that the others are compared with. n_parameters: of the autoencoder and of the denoiser.
    image_spectrum: of the images up to the latent grid's Nyquist frequency. images: some of the reference as one PNG,
    in base64. notes: what a reader must know, the scale of the comparison first.
    """

    name: str
    plan: str
    control: str
    command: str
    n_parameters: tuple[int, int]
    image_spectrum: Spectrum
    images: str
    trials: tuple[Trial, ...]
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the plan's order."""
        return tuple(dict.fromkeys(trial.method for trial in self.trials))

    @property
    def is_paired(self) -> bool:
        """Whether at two seeds or more, methods share a seed's autoencoder, which shifts their scores alike."""
        autoencoders = {(trial.seed, trial.autoencoder_digest) for trial in self.trials}
        n_trials = Counter(trial.seed for trial in self.trials)
        return len(autoencoders) == len(n_trials) and sum(n > 1 for n in n_trials.values()) > 1

    def of(self, method: str) -> tuple[Trial, ...]:
        """Return the trials of one method, by seed."""
        return tuple(sorted((t for t in self.trials if t.method == method), key=lambda trial: trial.seed))


class Spread(NamedTuple):
    """Mean, least and greatest of one number over n seeds."""

    mean: float
    least: float
    greatest: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of the values of one number, one for each seed."""
    return Spread(statistics.mean(values), min(values), max(values), len(values))


COMPARISON = Document(Comparison, "specmatch-comparison-2", "comparison", "run `specmatch compare` again")
"""The file comparison.json."""
