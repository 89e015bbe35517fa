"""What `compare` found: methods × seeds at equal cost, as records; the only input of its report."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..files.documents import Document
from .analysis import Provenance, Spectrum
from .scores import Evaluation

Stage = Literal["autoencoder", "analysis", "cache", "targets", "diffusion", "samples", "scores"]


@dataclass(frozen=True)
class CurvePoint:
    """The mean of the diffusion model's losses that were logged since the point before."""

    step: int
    loss: float


@dataclass(frozen=True)
class Trial:
    """One method from one seed, from images to scores.

    method: the plan's name for it. numbers: of the autoencoder, by the keys of `metrics.METRICS`. latent_spectrum: of
    posterior means at unit scale. samples: the first samples as one PNG, base64. seconds: of each stage that ran, by
    name. digests: of weights.
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


@dataclass(frozen=True)
class Comparison:
    """All trials of a plan.

    plan: as YAML. control: the method that the others are held against. n_parameters: of the autoencoder and of the
    denoiser. image_spectrum: of the images, averaged onto the latent grid. images: some of the reference, as one PNG.
    notes: what a reader must know, how small it is first of all.
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
        """In the plan's order."""
        return tuple(dict.fromkeys(trial.method for trial in self.trials))

    def of(self, method: str) -> tuple[Trial, ...]:
        """The trials of one method, by seed."""
        return tuple(sorted((t for t in self.trials if t.method == method), key=lambda trial: trial.seed))


class Spread(NamedTuple):
    """Mean, least and greatest over seeds; std: with n − 1, None for a single seed."""

    mean: float
    least: float
    greatest: float
    std: float | None
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Of one number over seeds."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.mean(values), min(values), max(values), std, len(values))


def order(one: Spread, other: Spread) -> Literal["below", "above", "undecided"]:
    """Whether every seed of one lies below, or above, every seed of the other; undecided with a single seed."""
    if min(one.n, other.n) < 2:
        return "undecided"
    if one.greatest < other.least:
        return "below"
    return "above" if one.least > other.greatest else "undecided"


COMPARISON = Document(Comparison, "specmatch-comparison-2", "comparison", "run `specmatch compare` again")
"""comparison.json."""
