"""The record of the unified view: which side of spectrum matching each method acts on."""

from dataclasses import dataclass
from typing import Literal

from ...files.documents import Document
from ...records.analysis import Provenance
from ...spectrum.bands import Variant

Outcome = Literal["acts", "worse", "lower", "higher", "undecided"]
VARIANTS: dict[Variant, str] = {"scale_free": "scale-free", "paper": "the paper’s"}
"""The variants of ESM, with their names."""


@dataclass(frozen=True)
class GapCurve:
    """KL(flattened images ‖ latents) in nats over the study's deltas, and its minimum, as in `SpectrumMatch`."""

    variant: Variant
    gaps: tuple[float, ...]
    best_delta: float
    best_gap: float


@dataclass(frozen=True)
class SeedResult:
    """One analysis. digest: of the weights. decoded, aligned, gaps (keeps): the low-pass decoding curve in dB."""

    source: str
    digest: str
    psnr: float
    curves: tuple[GapCurve, ...]
    decoded: tuple[float, ...]
    aligned: tuple[float, ...]
    gaps: tuple[float, ...]

    def curve(self, variant: Variant) -> GapCurve:
        """Return the curve of one variant."""
        return next(curve for curve in self.curves if curve.variant == variant)


@dataclass(frozen=True)
class Quantity:
    """A number that a method may change. acts: the direction of a better match, "" where neither is better."""

    key: str
    title: str
    unit: str
    side: Literal["encoding", "decoding", "neither"]
    acts: Literal["down", "up", ""]


@dataclass(frozen=True)
class Change:
    """One quantity of one method against the control's mean.

    values: of the seeds; changes: minus the mean of the control; mean, half_range: of the changes. word: by
    `metrics.pooled.differences` against the control, Holm's correction over the methods: "acts" in the direction of
    `Quantity.acts`, "worse" in the other, "lower" or "higher" if no direction is better, "undecided" otherwise and
    with a single seed.
    """

    key: str
    values: tuple[float, ...]
    changes: tuple[float, ...]
    mean: float
    half_range: float
    word: Outcome


@dataclass(frozen=True)
class MethodResult:
    """One method: its seeds, and its change in every quantity; the control's own changes scatter around zero."""

    name: str
    seeds: tuple[SeedResult, ...]
    changes: tuple[Change, ...]

    def change(self, key: str) -> Change:
        """Return the change of one quantity."""
        return next(change for change in self.changes if change.key == key)


@dataclass(frozen=True)
class UnifiedView:
    """All methods, on the same images, with latents of one shape (channels, h, w).

    delta: flattening of the images' spectrum with which the encoding side is compared. keeps: diagonals kept of blocks
    of `block` positions, the strongest low-pass last, without the one that keeps everything. images: description.
    """

    control: str
    delta: float
    deltas: tuple[float, ...]
    keeps: tuple[int, ...]
    block: int
    latent_shape: tuple[int, int, int]
    images: str
    quantities: tuple[Quantity, ...]
    methods: tuple[MethodResult, ...]
    command: str
    provenance: Provenance
    notes: tuple[str, ...]

    def of(self, name: str) -> MethodResult:
        """Return one method."""
        return next(method for method in self.methods if method.name == name)


UNIFIED_VIEW = Document(UnifiedView, "specmatch-unified-view-1", "study", "run `specmatch study unified-view` again")
"""study.json."""
