"""The record of the frequency-bias study: what denoisers get wrong by band, noise level and update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...files.documents import Document
from ...records.analysis import Provenance
from ...records.measurement import Measurement
from .plans import FrequencyPlan

PerBand = tuple[float, ...]
"""One number for each band, from the lowest."""


@dataclass(frozen=True)
class EvalPoint:
    """The network after `step` updates, on held-out data.

    data_errors (levels, bands): squared error of the denoised estimate x̂; each band's part in the mean over values, so
    that bands sum to the whole.
    """

    step: int
    data_errors: tuple[PerBand, ...]


@dataclass(frozen=True)
class NoiseLevel:
    """The trained network and the best linear denoiser (Wiener) at one noise level t.

    loss_factor: squared error of the prediction over that of x̂. wiener_errors: as `EvalPoint.data_errors`, on the same
    data and noise. relative_error: error of x̂ over the power of the data, both summed over all coefficients.
    csf_error: the same with both weighted by squared contrast sensitivity, None for data that are not images.
    """

    time: float
    loss_factor: float
    wiener_errors: PerBand
    relative_error: float
    wiener_relative_error: float
    csf_error: float | None
    wiener_csf_error: float | None

    @property
    def over_wiener(self) -> float:
        """The whole error over that of the best linear denoiser."""
        return self.relative_error / self.wiener_relative_error

    @property
    def csf_over_wiener(self) -> float | None:
        """The same, weighted by contrast sensitivity."""
        if self.csf_error is None or self.wiener_csf_error is None:
            return None
        return self.csf_error / self.wiener_csf_error


@dataclass(frozen=True)
class Band:
    """One radial DCT band of one case, at `frequency` cycles per sample.

    power: mean over held-out coefficients; data have unit variance, so white noise has 1. final_loss, wiener_loss:
    squared error of the prediction per coefficient, mean over noise levels. half: updates until half of what this loss
    falls by is gone, interpolated between evaluations; None where it does not fall. final_error: error of x̂ over the
    power of the band, mean over levels. ratio: final error over Wiener's, geometric mean over levels, with a jackknife
    error over held-out fields. sampled_decibels: power of generated over training data, and wiener_sampled_decibels: of
    what the best linear denoiser generates with the same sampler; None where not finite.
    """

    frequency: float
    coefficients: int
    power: float
    final_loss: float
    wiener_loss: float
    half: float | None
    final_error: float
    ratio: Measurement
    sampled_decibels: float | None
    wiener_sampled_decibels: float | None


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of `Band.half`, `ratio` and `final_error` with the frequency of the band.

    half: 1 where every higher band is learned later; bands that are never half learned come last. None where all bands
    lie within a tenth of each other.
    """

    half: float | None
    ratio: float | None
    error: float | None


@dataclass(frozen=True)
class Case:
    """One network trained on one kind of data with one loss and seed. shape: (c, h, w) of the data."""

    name: str
    seed: int
    space: Literal["pixels", "latents"]
    shape: tuple[int, int, int]
    denoiser: str
    n_parameters: int
    bands: tuple[Band, ...]
    rank_correlation: RankCorrelation
    levels: tuple[NoiseLevel, ...]
    evals: tuple[EvalPoint, ...]
    provenance: Provenance


def to_five_digits(values: Sequence[float]) -> list[float]:
    """Round each value to five digits: what differs in the sixth is rounding, not an order."""
    return [float(f"{value:.5g}") for value in values]


@dataclass(frozen=True)
class MetricByBand:
    """One image metric of images with an error in one band at a time: means over images.

    correlation: Spearman's, of the damage with frequency: −1 where every higher band is forgiven more. None where the
    metric does not tell bands apart, and of too few bands.
    """

    metric: str
    unit: str
    better: Literal["higher", "lower"]
    values: PerBand
    correlation: float | None

    @property
    def is_flat(self) -> bool:
        """Whether the metric does not tell bands apart: its values agree within rounding."""
        return len(set(to_five_digits(self.values))) == 1


@dataclass(frozen=True)
class InjectedErrors:
    """Image metrics of random errors of equal RMS in one band at a time. rms: of images in [−1, 1].

    contrast: factor by which images were scaled beforehand, so that none leaves its range.
    """

    frequencies: PerBand
    rms: float
    contrast: float
    n_images: int
    metrics: tuple[MetricByBand, ...]


@dataclass(frozen=True)
class FrequencyBias:
    """All finished cases of a plan."""

    plan: FrequencyPlan
    command: str
    cases: tuple[Case, ...]
    injected: InjectedErrors | None
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cases, in the plan's order."""
        return tuple(dict.fromkeys(case.name for case in self.cases))

    def of(self, name: str) -> tuple[Case, ...]:
        """Return all seeds of one case."""
        return tuple(case for case in self.cases if case.name == name)


REMEDY = "run `specmatch study frequency-bias` again"
FREQUENCY_BIAS = Document(FrequencyBias, "specmatch-frequency-bias-3", "study", REMEDY)
"""study.json."""
CASE = Document(Case, "specmatch-frequency-case-4", "case", REMEDY)
"""case.json of a finished case; the version rises whenever cases are measured differently, so that all are rerun."""
