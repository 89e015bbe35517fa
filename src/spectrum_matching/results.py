"""What the verbs measure, as plain numbers with their provenance: the only input of the report."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["mean", "sample"]
Variant = Literal["paper", "scale_free"]


@dataclass(frozen=True)
class Estimate:
    """A mean over images, or a fit to one, and its standard error over images."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Spectrum:
    """Mean power by radial band, DC left out, and the exponent of the power law 1/f^exponent fitted to it.

    frequencies (bins): cycles per sample of the grid. power (bins). Empty bands are left out of both.
    """

    frequencies: tuple[float, ...]
    power: tuple[float, ...]
    exponent: Estimate


@dataclass(frozen=True)
class SpectrumMatch:
    """The latents' band distribution against the images', flattened by delta, as one variant of ESM sees it.

    frequencies, latent, every row of targets: (bins). deltas, gaps, targets: one entry a delta; a gap is
    KL(target ‖ latent) in nats. best_delta: the delta of the smallest mean gap; interval: 95 %, bootstrap over images.
    """

    variant: Variant
    frequencies: tuple[float, ...]
    latent: tuple[float, ...]
    deltas: tuple[float, ...]
    targets: tuple[tuple[float, ...], ...]
    gaps: tuple[Estimate, ...]
    best_delta: float
    best_delta_interval: tuple[float, float]
    best_gap: float

    def target(self, delta: float) -> tuple[float, ...]:
        """The target at one of `deltas`."""
        return self.targets[self.deltas.index(delta)]

    def gap(self, delta: float) -> Estimate:
        """The gap at one of `deltas`."""
        return self.gaps[self.deltas.index(delta)]


@dataclass(frozen=True)
class LatentView:
    """The latents of a set of images: posterior means or samples.

    mean, std: over everything; channel_means, channel_stds, channel_power (channels, bins): per channel.
    """

    kind: Kind
    mean: float
    std: float
    channel_means: tuple[float, ...]
    channel_stds: tuple[float, ...]
    spectrum: Spectrum
    channel_power: tuple[tuple[float, ...], ...]
    matches: tuple[SpectrumMatch, ...]
    rmsc: Estimate

    def match(self, variant: Variant) -> SpectrumMatch:
        """That of one variant."""
        return next(match for match in self.matches if match.variant == variant)


@dataclass(frozen=True)
class LowpassPoint:
    """One strength of the low-pass decoding curve, PSNR in dB.

    decoded: decode(move(z)) against move(x). aligned: move(decode(z)) against move(x), what a decoder that keeps
    frequencies apart could reach. removed: move(x) against x, what the move itself takes away.
    """

    keep: int
    decoded: Estimate
    aligned: Estimate
    removed: Estimate


@dataclass(frozen=True)
class Picture:
    """One of the images (its central part) after the low-pass `keep`, or what the decoder made of latents moved alike.

    keep: as in `LowpassPoint`, 2·block − 1 for no low-pass. png: base64.
    """

    image: str
    keep: int
    decoded: bool
    png: str


@dataclass(frozen=True)
class Subject:
    """The autoencoder that was measured."""

    name: str
    source: str
    kind: str
    factor: int
    channels: int
    scaling_factor: float
    shift_factor: float
    parameters: int
    digest: str


@dataclass(frozen=True)
class Sample:
    """The images that were measured."""

    source: str
    split: str
    n_images: int
    size: int
    digest: str
    bad_files: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """How to get the same numbers again."""

    version: str
    commit: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class Analysis:
    """All that was measured of one autoencoder on one set of images. PSNR in dB of images clamped to [−1, 1].

    psnr, ssim, lowpass, pictures: of decoded posterior means. lowpass is empty where the latent grid divides into no
    blocks (lowpass_block 1). notes: what a reader of the numbers must know, one sentence each.
    """

    subject: Subject
    sample: Sample
    provenance: Provenance
    latent_shape: tuple[int, int, int]
    image: Spectrum
    image_on_latent_grid: Spectrum
    views: tuple[LatentView, ...]
    lowpass: tuple[LowpassPoint, ...]
    lowpass_block: int
    psnr: Estimate
    ssim: Estimate
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]

    def view(self, kind: Kind) -> LatentView:
        """That of one kind."""
        return next(view for view in self.views if view.kind == kind)


def to_json(analyses: list[Analysis]) -> str:
    """Analyses as one JSON document."""
    document = {"format": "specmatch-analysis-1", "analyses": [dataclasses.asdict(a) for a in analyses]}
    return json.dumps(document, indent=1, allow_nan=False)


def read_analyses(path: Path) -> list[Analysis]:
    """Inverse of `to_json`, from a file. ValueError naming the file if it is not such a document."""
    from pydantic import TypeAdapter, ValidationError

    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return TypeAdapter(list[Analysis]).validate_python(document["analyses"])
    except (json.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"{path} is not an analysis written by specmatch: {str(error).splitlines()[0]}") from error
