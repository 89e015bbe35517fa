"""Which side of spectrum matching each method acts on: its latents' spectrum, its decoder, or both."""

from dataclasses import dataclass
from typing import Literal

from ...files.documents import Document
from ...records.analysis import Provenance
from ...spectrum.bands import Variant

Side = Literal["encoding", "decoding", "neither"]
Word = Literal["acts", "does not", "lower", "higher", "undecided"]


@dataclass(frozen=True)
class GapCurve:
    """KL(flattened images ‖ latents) in nats over the study's deltas, and where it is least, as `SpectrumMatch`."""

    variant: Variant
    gaps: tuple[float, ...]
    best_delta: float
    best_gap: float


@dataclass(frozen=True)
class SeedReading:
    """One analysis. digest: of the weights. decoded, aligned, gaps (keeps): the low-pass decoding curve, in dB."""

    source: str
    digest: str
    psnr: float
    curves: tuple[GapCurve, ...]
    decoded: tuple[float, ...]
    aligned: tuple[float, ...]
    gaps: tuple[float, ...]

    def curve(self, variant: Variant) -> GapCurve:
        """That of one variant."""
        return next(curve for curve in self.curves if curve.variant == variant)


@dataclass(frozen=True)
class Quantity:
    """What a method may change. acts: the direction in which it matches better, "" where neither does."""

    key: str
    title: str
    unit: str
    side: Side
    acts: Literal["down", "up", ""]


@dataclass(frozen=True)
class Change:
    """One quantity of one method against the control's mean.

    values: of the seeds, as they are; changes: less the mean of the control's; mean, half_range: of the changes. word:
    "acts" where every seed lies beyond every seed of the control in the direction of `Quantity.acts`, "does not" where
    every seed lies beyond in the other, "lower" or "higher" where no direction is named, "undecided" where seeds
    overlap or one of both has a single one.
    """

    key: str
    values: tuple[float, ...]
    changes: tuple[float, ...]
    mean: float
    half_range: float
    word: Word


@dataclass(frozen=True)
class MethodReading:
    """One method: its seeds, and its change in every quantity of the study; the control's own are around zero."""

    name: str
    seeds: tuple[SeedReading, ...]
    changes: tuple[Change, ...]

    def change(self, key: str) -> Change:
        """Of one quantity."""
        return next(change for change in self.changes if change.key == key)


@dataclass(frozen=True)
class UnifiedView:
    """All methods, on the same images, with latents of one shape (channels, h, w).

    delta: the flattening whose target the encoding side is held against. keeps: diagonals of blocks of `block` cells
    that are kept, strongest low-pass last; without that which keeps everything. images: what was measured on.
    """

    control: str
    delta: float
    deltas: tuple[float, ...]
    keeps: tuple[int, ...]
    block: int
    latent_shape: tuple[int, int, int]
    images: str
    quantities: tuple[Quantity, ...]
    methods: tuple[MethodReading, ...]
    command: str
    provenance: Provenance
    notes: tuple[str, ...]

    def of(self, name: str) -> MethodReading:
        """One method."""
        return next(method for method in self.methods if method.name == name)


UNIFIED_VIEW = Document(UnifiedView, "specmatch-unified-view-1", "study", "run `specmatch study unified-view` again")
"""study.json."""
