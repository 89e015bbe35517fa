"""The record of an analysis, plain numbers with their provenance: the only input of the report.

docs/analysis-json.md documents the file that these records are written to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..files.documents import Document, require_equal_lengths
from ..spectrum.bands import Variant
from .coverage import Coverage
from .generative import Generative
from .measurement import Measurement

Kind = Literal["mean", "sample"]
KINDS: Mapping[Kind, str] = {"mean": "posterior means", "sample": "posterior samples"}
"""What latents of each kind are called beside every number of theirs."""

SpectrumFinding = Literal["spectrum-steeper", "spectrum-at-target", "spectrum-flatter", "spectrum-undecided"]
LatentFinding = Literal["noisy-posterior", "posterior-undecided", "dead-channels", "outlier-channels"]
DecoderFinding = Literal[
    "decoder-aligned", "decoder-partly-aligned", "decoder-misaligned", "decoder-idle", "decoder-undecided"
]
ScaleFinding = Literal["scale-matches", "scale-undeclared", "scale-wrong", "scale-undecided", "off-centre"]
FidelityFinding = Literal["weak-reconstruction", "reconstruction-undecided"]
FindingKey = SpectrumFinding | LatentFinding | DecoderFinding | ScaleFinding | FidelityFinding
FINDING_KEYS: tuple[str, ...] = tuple(key for keys in get_args(FindingKey) for key in get_args(keys))


@dataclass(frozen=True)
class Spectrum:
    """Mean power by radial band, DC left out, and the exponent of the power law 1/f^exponent fitted to it.

    frequencies (bins): cycles per sample of the grid. power (bins). Empty bands are left out of both.
    """

    frequencies: tuple[float, ...]
    power: tuple[float, ...]
    exponent: Measurement

    def __post_init__(self) -> None:
        require_equal_lengths(self, "frequencies", "power")


@dataclass(frozen=True)
class SpectrumMatch:
    """The latents' band distribution compared with the images', flattened by delta, by one variant of ESM.

    frequencies, latent, every row of targets: (bins). deltas, gaps, targets: one entry a delta; a gap is
    KL(target ‖ latent) in nats. best_delta: the delta of the smallest mean gap; interval: 95 %, bootstrap over images.
    """

    variant: Variant
    frequencies: tuple[float, ...]
    latent: tuple[float, ...]
    deltas: tuple[float, ...]
    targets: tuple[tuple[float, ...], ...]
    gaps: tuple[Measurement, ...]
    best_delta: float
    best_delta_interval: tuple[float, float]
    best_gap: float

    def __post_init__(self) -> None:
        require_equal_lengths(self, "frequencies", "latent")
        require_equal_lengths(self, "deltas", "targets", "gaps")
        if any(len(target) != len(self.frequencies) for target in self.targets):
            raise ValueError(f"targets: expected {len(self.frequencies)} values of each delta, one for each frequency")

    def target(self, delta: float) -> tuple[float, ...]:
        """Return the target at one of `deltas`."""
        return self.targets[self.deltas.index(delta)]

    def gap(self, delta: float) -> Measurement:
        """Return the gap at one of `deltas`."""
        return self.gaps[self.deltas.index(delta)]


@dataclass(frozen=True)
class Channel:
    """One latent channel: moments over all images and positions, and its spectrum as in `Spectrum`.

    kurtosis: excess, 0 for a Gaussian; None where the channel does not vary. exponent: None there too.
    """

    mean: float
    std: float
    kurtosis: float | None
    exponent: float | None
    power: tuple[float, ...]
    state: Literal["live", "dead", "outlier"]


@dataclass(frozen=True)
class LatentView:
    """The latents of a set of images: posterior means or samples; raw, before any normalisation.

    mean, std: over everything. matches: empty without images. cosine_by_distance: mean cosine between the tokens of an
    image, by Manhattan distance in positions from 0, standardised by channel. eigenvalues: of the channels' covariance,
    largest first. block_dct: amplitude relative to DC in blocks of 8, zig-zag order, of standardised latents; empty
    where the grid has no such block.
    """

    kind: Kind
    mean: float
    std: float
    channels: tuple[Channel, ...]
    spectrum: Spectrum
    matches: tuple[SpectrumMatch, ...]
    cosine_by_distance: tuple[float, ...]
    eigenvalues: tuple[float, ...]
    block_dct: tuple[float, ...]
    measurements: Mapping[str, Measurement]

    def __post_init__(self) -> None:
        if any(len(channel.power) != len(self.spectrum.power) for channel in self.channels if channel.power):
            raise ValueError(f"channels: expected {len(self.spectrum.power)} values of power, as many as spectrum has")

    def match(self, variant: Variant) -> SpectrumMatch:
        """Return the match by one variant."""
        return next(match for match in self.matches if match.variant == variant)


@dataclass(frozen=True)
class LowpassPoint:
    """One strength of the low-pass decoding curve, PSNR in dB.

    With f the low-pass: decoded compares decode(f(z)) with f(x); aligned compares f(decode(z)) with f(x), what a
    decoder that keeps frequencies apart reaches; removed compares f(x) with x. gap: aligned − decoded.
    """

    keep: int
    decoded: Measurement
    aligned: Measurement
    removed: Measurement
    gap: Measurement


@dataclass(frozen=True)
class NoisePoint:
    """Effect on the output of white noise on the latents, of `strength` times each channel's standard deviation.

    psnr: in dB, compared with what the clean latents decode to. response: mean square of an image value's change over
    that of the noise in units of each channel's standard deviation.
    """

    strength: float
    psnr: Measurement
    response: Measurement


@dataclass(frozen=True)
class EquivariancePoint:
    """‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖² for one transform τ. resampler: "" where nothing is resampled."""

    transform: str
    resampler: str
    error: Measurement


@dataclass(frozen=True)
class Transfer:
    """Output energy of the decoder by band, for energy that enters one band of the latents.

    frequencies (bands): upper edge of each latent band, in cycles per latent position. shares (bands, bands + 1): of
    the output's response, in image bands of the same physical frequencies and, last, beyond them. even (bands + 1): of
    a decoder that spreads evenly. gains (bands): mean square of an image value's response over that of the disturbance
    in units of each channel's standard deviation. diagonal: mean share that stays in its band. strength: RMS of the
    disturbance in those units.
    """

    frequencies: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]
    even: tuple[float, ...]
    gains: tuple[float, ...]
    diagonal: Measurement
    strength: float
    n_images: int

    def __post_init__(self) -> None:
        require_equal_lengths(self, "frequencies", "shares", "gains")
        if any(len(shares) != len(self.even) for shares in self.shares):
            raise ValueError(f"shares: expected {len(self.even)} values of each band, as many as even")


@dataclass(frozen=True)
class Decoding:
    """Measurements that need a decoder. PSNR in dB of images clamped to [−1, 1].

    measurements: reconstruction of every image, the rest of the tests; all from posterior means. lowpass, noise: on
    n_tests images spread over these; lowpass is empty where the latent grid divides into no blocks (lowpass_block 1).
    """

    measurements: Mapping[str, Measurement]
    n_tests: int
    lowpass: tuple[LowpassPoint, ...]
    lowpass_block: int
    noise: tuple[NoisePoint, ...]
    transfer: Transfer | None

    @property
    def diagonals(self) -> int:
        """The diagonals of a block: what `keep` is out of."""
        return 2 * self.lowpass_block - 1

    @property
    def mildest(self) -> LowpassPoint | None:
        """The weakest low-pass that removes anything."""
        some = [point for point in self.lowpass if point.keep < self.diagonals]
        return max(some, key=lambda point: point.keep, default=None)


@dataclass(frozen=True)
class Normalisation:
    """Whether the declared normalisation makes these latents unit-scale: samples, where there is a posterior.

    convention: as in `LatentSpace`. std, channel_stds (least, most), channel_means (least, most): after it.
    suggested_scaling_factor: 1 over the standard deviation of the raw latents. All but the means are of live channels.
    """

    convention: str
    std: Measurement
    channel_stds: tuple[float, float]
    channel_means: tuple[float, float]
    suggested_scaling_factor: float


@dataclass(frozen=True)
class Picture:
    """One of the images (its central part) after the low-pass `keep`, or what the low-passed latents decode to.

    keep: as in `LowpassPoint`, 2·block − 1 for no low-pass. png: base64.
    """

    image: str
    keep: int
    decoded: bool
    png: str


@dataclass(frozen=True)
class LatentPicture:
    """The same part of one image's latents in false colour: their first three principal components as R, G and B."""

    image: str
    png: str


@dataclass(frozen=True)
class Subject:
    """What was measured. kind: its class, or "cached latents (LAYOUT)", which have no weights. factor: 0 if unknown."""

    name: str
    source: str
    kind: str
    factor: int
    channels: int
    stochastic: bool
    parameters: int
    digest: str


@dataclass(frozen=True)
class Sample:
    """The images that were measured, spread over the source and split; size 0 where there were none.

    coverage: how many of how many that are not known to be bad. digest: of the images that were measured.
    """

    source: str
    split: str
    coverage: Coverage
    size: int
    digest: str
    bad_files: tuple[str, ...]

    @property
    def n_images(self) -> int:
        """The number of images that were measured."""
        return self.coverage.n_images


@dataclass(frozen=True)
class Provenance:
    """Facts needed to reproduce the numbers."""

    version: str
    commit: str
    torch: str
    diffusers: str
    device: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict.

    key: its name in conditions. level: "bad" and "good" are kept for what is wrong or right whatever one believes of
    spectra. evidence: the numbers. advice: what to do, or "". command: the whole command that does it, or "".
    """

    key: FindingKey
    level: Literal["good", "warning", "bad", "neutral"]
    verdict: str
    evidence: str
    advice: str = ""
    command: str = ""


@dataclass(frozen=True)
class Analysis:
    """Everything measured of one autoencoder, or of cached latents, on one set of images.

    image, image_on_latent_grid: None without images. image_block_dct: as `LatentView.block_dct`, of the images averaged
    onto the latent grid. equivariance: empty without an encoder. decoding: None without a decoder. generative: None
    without a reference. findings: the verdict. notes: what a reader of the numbers must know, one sentence each.
    """

    subject: Subject
    sample: Sample
    provenance: Provenance
    latent_shape: tuple[int, int, int]
    image: Spectrum | None
    image_on_latent_grid: Spectrum | None
    image_block_dct: tuple[float, ...]
    views: tuple[LatentView, ...]
    normalisation: Normalisation
    equivariance: tuple[EquivariancePoint, ...]
    decoding: Decoding | None
    generative: Generative | None
    pictures: tuple[Picture, ...]
    latent_pictures: tuple[LatentPicture, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def view(self, kind: Kind) -> LatentView:
        """Return the view of posterior means or of samples."""
        return next(view for view in self.views if view.kind == kind)

    def name_of(self, view: LatentView) -> str:
        """Return what the latents of a view are called: by their kind, or "latents" where there is no posterior."""
        return KINDS[view.kind] if len(self.views) > 1 else "latents"

    @property
    def diffused(self) -> LatentView:
        """The latents that a diffusion model learns: samples of the posterior, or the means where there is none."""
        return self.views[-1]

    def measurement(self, key: str) -> Measurement | None:
        """Return a number of the posterior means, of the decoder or of generation; None if it was not measured."""
        others = (part.measurements.get(key) for part in (self.decoding, self.generative) if part)
        return next(filter(None, (self.view("mean").measurements.get(key), *others)), None)


ANALYSES = Document(list[Analysis], "specmatch-analysis-5", "analyses", "run `specmatch analyze` again")
"""analysis.json."""
