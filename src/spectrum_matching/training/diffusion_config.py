"""Runs of diffusion models: frozen records of all settings of a training, and a function for each family of presets."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt

from ..diffusion.alignment import Std
from ..diffusion.path import Kind, Prediction
from ..diffusion.times import Distribution
from ..files.settings import Changeable, Fraction, Incidental, NonNegative, NotHashed
from ..latents.gain_choice import GainChoice
from ..nets.precision import Precision
from ..sampling.generate import PROTOCOLS, SamplingChoice
from .autoencoder_config import Intervals, Optimizer, Tracking, renamed

Size = Literal["B", "L", "XL"]
Latents = Literal["f8d4", "f16d16"]

DINOV2 = "repa:hub:facebook/dinov2-base"


@dataclass(frozen=True)
class Source(GainChoice):
    """Data to learn: cached latents, images encoded on the fly, or pixels (images without an autoencoder)."""

    latents: NotHashed[str | None] = None  # a folder of cached latents
    images: NotHashed[str | None] = None  # instead: embedded, folder, parquet, tar, URL, hub:NAME, stream:NAME
    autoencoder: Incidental[str | None] = None  # encodes images, decodes samples; the cache's own by default
    size: PositiveInt = 64  # of images: pixels on a side
    held_out: Fraction = 0.05  # of images: share that training never sees
    crop: Literal["random", "center"] = "center"  # of images: where they are cut to a square
    flip: bool = False  # mirrored images too; a cache must hold them
    on_bad: Literal["skip", "refuse"] = "skip"  # unreadable files: report and skip them, or refuse to start
    workers: Incidental[NonNegativeInt] = 0  # processes that read images
    sample: bool = True  # sample latents from their posteriors; otherwise take the means
    statistics: Literal["global", "centred", "channel", "declared"] = "global"  # by which latents are normalised

    @property
    def gain(self) -> GainChoice:
        """The choice of a gain alone, as a cache holds its own."""
        return GainChoice(self.flatten, self.whiten, self.whiten_by, self.gain_channels)


@dataclass(frozen=True)
class DenoiserChoice:
    """The network, and its options; those that are left out are as its size has them."""

    name: str = "SiT-tiny/1"  # FAMILY-SIZE/PATCH (docs/denoisers.md)
    labels: bool = True  # condition on the class where the data has classes
    width: int | None = None  # channels of a token
    depth: int | None = None  # blocks
    heads: int | None = None  # of attention, in each block
    time_scale: float | None = None  # that times in [0, 1] are multiplied by before they are embedded

    @property
    def changes(self) -> dict[str, Any]:
        """Options that differ from those of its size, by name."""
        options = {name: getattr(self, name) for name in ("width", "depth", "heads", "time_scale")}
        return {name: value for name, value in options.items() if value is not None}


@dataclass(frozen=True)
class ObjectiveChoice:
    """Prediction, times and weighting of the diffusion loss."""

    path: Kind = "linear"  # from data to noise
    prediction: Prediction = "velocity"  # what the network predicts
    times: Distribution = "uniform"  # of training
    times_mean: float = 0.0  # of log_normal
    times_std: float = 1.0  # of log_normal
    shift: float = 1.0  # of shifted
    weighting: Literal["none", "min_snr"] = "none"  # of the loss over times
    gamma: NonNegative = 5.0  # of min_snr
    frequency_weight: float = 0.0  # D: the loss of frequency f is weighted by f^D; tested with centred statistics
    label_dropout: Fraction = 0.1  # share of images that are learned without their class, for guidance


@dataclass(frozen=True)
class Curriculum:
    """Low-passed latents first: each strength in turn over the first `share` of the steps, then no filter.

    A control of spectrum matching: coarse-to-fine learning in the diffusion model alone.
    """

    keep: tuple[int, ...] = ()  # diagonals of each block's DCT to keep; none: no curriculum
    block: int = 8  # side of a block
    share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of the steps


@dataclass(frozen=True)
class AlignmentChoice:
    """Alignment of the tokens of one block with a vision encoder's: projector, target filter and loss."""

    weight: NonNegative = 0.0  # 0: no alignment
    # as in `open_vision`, for instance repa:hub:facebook/dinov2-base; by default that of the cached targets
    encoder: NotHashed[str | None] = None
    size: int | None = None  # of images: pixels on a side that the encoder sees; the encoder's own by default
    targets: Incidental[str | None] = None  # of latents: folder of cached targets; by default LATENTS/targets
    tap: PositiveInt = 2  # block whose tokens are aligned, from 1
    projector: Literal["perceptron", "convolution"] = "perceptron"  # from tokens to targets
    hidden: PositiveInt = 2048  # of the perceptron
    filter: Literal["none", "normalise", "dog"] = "none"  # of the targets
    gamma: float = 0.6  # of normalise: share of the mean token that is taken off
    inner: float = 0.5  # of dog: sigma in tokens of the encoder's grid; 0: high-pass
    outer: float = 3.0  # of dog
    std: Std = "none"  # what the filtered targets are divided by
    loss: Literal["cosine", "gram"] = "cosine"  # of tokens one by one, or of their similarities


@dataclass(frozen=True)
class DiffusionRun:
    """A training of a diffusion model."""

    name: Incidental[str] = "tiny_sit"  # shown in messages and records
    out: Incidental[str] = "runs/tiny_sit"  # run directory; the same command resumes from it
    seed: int = 0  # of weights, order of latents, times and noise
    steps: Changeable[PositiveInt] = 2000  # updates
    batch_size: PositiveInt = 64  # latents in one update, over all processes and micro-batches
    accumulation: Changeable[PositiveInt] = 1  # micro-batches of one update: more of them need less memory
    precision: Changeable[Precision] = "fp32"  # of the denoiser; images are encoded in fp32; fp16: GPUs without bf16
    compile: bool = False  # by torch.compile
    gradient_checkpointing: Changeable[bool] = False  # less memory, for about a third more time
    shard: Incidental[bool] = False  # divide weights, moments and averages over the processes (FSDP2)
    max_bad_steps: Incidental[PositiveInt] = 10  # non-finite steps in a row after which training stops
    trackers: Incidental[tuple[Literal["tensorboard", "wandb"], ...]] = ()  # beside log.jsonl
    tracking: Incidental[Tracking] = field(default_factory=Tracking)
    source: Source = field(default_factory=Source)
    denoiser: DenoiserChoice = field(default_factory=DenoiserChoice)
    objective: ObjectiveChoice = field(default_factory=ObjectiveChoice)
    curriculum: Curriculum = field(default_factory=Curriculum)
    alignment: AlignmentChoice = field(default_factory=AlignmentChoice)
    optimizer: Optimizer = field(default_factory=Optimizer)
    preview: Incidental[SamplingChoice] = field(default_factory=SamplingChoice)
    intervals: Incidental[Intervals] = field(default_factory=Intervals)


ALIGNMENTS = {
    "repa": AlignmentChoice(weight=0.5, encoder=DINOV2, tap=8),
    "irepa": AlignmentChoice(
        weight=1.0, encoder=DINOV2, tap=8, projector="convolution", filter="normalise", gamma=0.6, std="empirical"
    ),
    "repa_dog": AlignmentChoice(
        weight=1.0, encoder=DINOV2, tap=8, projector="convolution", filter="dog", inner=0.5, outer=3.2, std="empirical"
    ),
}
"""Published alignments with DINOv2-B; Fréchet distances at 400,000 updates on f8d4, none of them run here.

REPA (arXiv 2410.06940), a perceptron to the tokens, of images prepared as its code does: without guidance XL 7.9; by
iREPA B 22.75, L 9.61, XL 7.76, by 250 steps of Euler–Maruyama. iREPA (arXiv 2512.10794), a 3 × 3 convolution to targets
less gamma times their mean token, divided by their std: B 21.40, L 9.36, XL 7.52, with guidance XL 1.93. REPA-DoG
(Spectrum Matching, arXiv 2603.14645), a difference of Gaussians over the 16 × 16 tokens in place of the normalisation:
with guidance, one run each, B 4.98 beside 5.07 for iREPA and 5.68 for REPA. The paper's sigmas are not known: these are
a fifth of the grid and half a token, the middle of what others use.
"""


def tiny(network: str = "SiT", alignment: str | None = None) -> DiffusionRun:
    """Return the CPU-sized preset, a transformer of width 192 and depth 6; set source.latents or source.images.

    alignment: one of ALIGNMENTS, towards histograms of oriented gradients in cells of 4 pixels; cache the targets.
    Sigmas are for 16 × 16 tokens, which images of 64 pixels have at f4. Cost and expected numbers: docs/compare.md,
    docs/alignment.md, bench/README.md.
    """
    run = DiffusionRun(
        denoiser=DenoiserChoice(f"{network}-tiny/1", time_scale=1000.0),
        optimizer=Optimizer(lr=5e-4, warmup=100, ema=0.999, weight_decay=0.0),
        intervals=Intervals(log=50, preview=1000, checkpoint=500),
    )
    if alignment is None:
        return renamed(run, f"tiny_{network.lower()}")
    choice = replace(ALIGNMENTS[alignment], encoder="gradients:4", tap=2, hidden=256)
    return renamed(replace(run, alignment=choice), f"tiny_{network.lower()}_{alignment}")


def celeba256_uvit(size: str, latents: Latents, steps: int) -> DiffusionRun:
    """Return CelebA-HQ 256 with U-ViT at 256 tokens, as in the paper's code: noise prediction on the VP path.

    Cost: not measured here; docs/compare.md estimates it. Source: Spectrum Matching (arXiv 2603.14645), the authors'
    configurations: batch 256, AdamW 2e-4, weight decay 0.03, betas 0.99, 5,000 warm-up updates, a constant
    EMA of 0.9999, no clipping (U-ViT's trainer has none); 300,000 updates on f16 latents, 500,000 on f8. Which of its
    two samplers the paper's table used is not known: DPM-Solver at 50 evaluations, as here, or 100 steps of Euler.
    """
    run = replace(
        LARGE,
        steps=steps,
        source=Source(latents=f"latents/celeba256_{latents}", flip=True),
        denoiser=DenoiserChoice(f"UViT-{size}/{2 if latents == 'f8d4' else 1}", labels=False),
        objective=ObjectiveChoice(path="vp", prediction="noise"),
        optimizer=UVIT,
        preview=PROTOCOLS["uvit_celeba"],
    )
    return renamed(run, f"celeba256_{latents}_uvit_{size.lower()}")


def imagenet256_uvit(size: Literal["L", "H"]) -> DiffusionRun:
    """Return ImageNet 256 with U-ViT at patch 2 on SD-VAE's f8d4 latents: noise prediction on Stable Diffusion's betas.

    Cost: not measured here. Source: U-ViT (arXiv 2209.12152), its configurations: batch 1024, labels dropped at 0.15,
    300,000 updates for L and 500,000 for H. Expected by protocol `uvit_imagenet`,
    third-order DPM-Solver with a guidance of 1.4 (its scale of 0.4): Fréchet distance 3.40 for L and 2.29 for H.
    """
    run = replace(
        LARGE,
        steps=300_000 if size == "L" else 500_000,
        batch_size=1024,
        source=Source(latents="latents/imagenet256_f8d4", flip=True, statistics="declared"),
        denoiser=DenoiserChoice(f"UViT-{size}/2", time_scale=1000.0),
        objective=ObjectiveChoice("stable_diffusion", "noise", "discrete", label_dropout=0.15),
        optimizer=UVIT,
        preview=PROTOCOLS["uvit_imagenet"],
    )
    return renamed(run, f"imagenet256_f8d4_uvit_{size.lower()}")


def imagenet256_sit(size: Size, latents: Latents, alignment: str | None = None) -> DiffusionRun:
    """Return ImageNet 256 with SiT at 256 tokens, linear path, velocity: patch 1 on f16d16, patch 2 on SD-VAE's f8d4.

    Cost: not measured here; docs/compare.md estimates it. Source: SiT (arXiv 2401.08740), whose settings REPA's code
    and the paper's keep: batch 256, AdamW 1e-4 without decay, a constant EMA of 0.9999, 400,000 updates; SiT
    does not clip gradients, REPA clips their norm at 1. Expected at f8d4 without
    guidance: Fréchet distance 33.0 for B (the same source); nothing is published for these f16d16 latents.

    alignment: one of ALIGNMENTS, from block 8 (B: 4), on data as REPA's code has them: no mirrored images, and f8d4
    latents, which the published numbers are for, at SD-VAE's own scale and not in the name.
    """
    run = replace(
        LARGE,
        steps=400_000,
        source=Source(latents=f"latents/imagenet256_{latents}", flip=alignment is None),
        denoiser=DenoiserChoice(f"SiT-{size}/{2 if latents == 'f8d4' else 1}"),
        optimizer=Optimizer(
            lr=1e-4, weight_decay=0.0, warmup=0, clip=0.0 if alignment is None else 1.0, ema=0.9999, ema_ramp=False
        ),
        preview=PROTOCOLS["sit" if alignment is None else "repa"],
    )
    name = f"imagenet256_{latents}_sit_{size.lower()}"
    if alignment is None:
        return renamed(run, name)
    if latents == "f8d4":
        run = replace(run, source=replace(run.source, statistics="declared"))
        name = f"imagenet256_sit_{size.lower()}"
    choice = replace(ALIGNMENTS[alignment], tap=4 if size == "B" else 8)
    return renamed(replace(run, alignment=choice), f"{name}_{alignment}")


UVIT = Optimizer(lr=2e-4, betas=(0.99, 0.99), weight_decay=0.03, warmup=5000, clip=0.0, ema=0.9999, ema_ramp=False)
LARGE = DiffusionRun(
    batch_size=256,
    precision="bf16",
    compile=True,
    intervals=Intervals(log=100, preview=25_000, checkpoint=10_000, keep_every=50_000),
)
PRESETS: dict[str, Callable[[], DiffusionRun]] = {
    make().name: make
    for make in (
        partial(tiny, "SiT"),
        partial(tiny, "UViT"),
        *(partial(tiny, "SiT", alignment) for alignment in ALIGNMENTS),
        partial(celeba256_uvit, "S", "f8d4", 500_000),
        partial(celeba256_uvit, "S", "f16d16", 300_000),
        partial(celeba256_uvit, "M", "f16d16", 500_000),
        *(partial(imagenet256_uvit, size) for size in ("L", "H")),
        *(
            partial(imagenet256_sit, size, latents, alignment)
            for alignment in (None, *ALIGNMENTS)
            for latents in get_args(Latents)
            for size in get_args(Size)
        ),
    )
}
