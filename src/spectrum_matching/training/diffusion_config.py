"""Runs of latent diffusion: frozen records of everything that decides a training, made by one function a preset."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ..diffusion.alignment import Std
from ..files.settings import Changeable, Fraction, Incidental, NonNegative, NotHashed
from ..sampling.generate import SamplingChoice
from .autoencoder_config import Intervals, Optimizer

PathKind = Literal["linear", "cosine", "vp"]
Prediction = Literal["velocity", "noise", "data"]
TimesKind = Literal["uniform", "log_normal", "shifted"]
Size = Literal["B", "L", "XL"]
Latents = Literal["f8d4", "f16d16"]

DINOV2 = "hub:facebook/dinov2-base"


@dataclass(frozen=True)
class Source:
    """What is learned: cached latents, images encoded on the fly, or pixels (images without an autoencoder)."""

    latents: NotHashed[str | None] = None  # a folder of cached latents
    images: NotHashed[str | None] = None  # instead: embedded, a folder, a parquet file, or hub:NAME
    autoencoder: Incidental[str | None] = None  # encodes images, decodes samples; the cache's own by default
    size: PositiveInt = 64  # of images: pixels on a side
    held_out: Fraction = 0.05  # of images: share that training never sees
    crop: Literal["random", "center"] = "center"
    flip: bool = False  # mirrored images too; a cache must hold them
    on_bad: Literal["skip", "refuse"] = "skip"
    workers: Incidental[NonNegativeInt] = 0
    sample: bool = True  # draw latents from their posteriors; otherwise their means
    statistics: Literal["global", "channel", "declared"] = "global"  # what brings latents to unit scale


@dataclass(frozen=True)
class DenoiserChoice:
    """The network and what differs from its size's own (None: nothing)."""

    name: str = "SiT-tiny/1"
    labels: bool = True  # condition on the class where the data has classes
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    time_scale: float | None = None


@dataclass(frozen=True)
class ObjectiveChoice:
    """What the network is asked for, and when."""

    path: PathKind = "linear"
    prediction: Prediction = "velocity"
    times: TimesKind = "uniform"
    times_mean: float = 0.0  # of log_normal
    times_std: float = 1.0  # of log_normal
    shift: float = 1.0  # of shifted
    weighting: Literal["none", "min_snr"] = "none"
    gamma: NonNegative = 5.0  # of min_snr
    label_dropout: Fraction = 0.1


@dataclass(frozen=True)
class Curriculum:
    """Low-passed latents first: the strengths in turn over the first `share` of the steps, then everything.

    A control of spectrum matching: coarse-to-fine learning in the diffusion model alone.
    """

    keep: tuple[int, ...] = ()  # diagonals of each block's DCT that stay; none: no curriculum
    block: int = 8
    share: Annotated[float, Field(ge=0, le=1)] = 0.5


@dataclass(frozen=True)
class AlignmentChoice:
    """What the tokens of one block should be like: a vision encoder's, by projector, target filter and loss."""

    weight: NonNegative = 0.0  # 0: nothing of it is opened or computed
    encoder: NotHashed[str | None] = None  # gradients[:CELL], a folder, or hub:NAME; None: that of the cached targets
    size: int | None = None  # of images: pixels on a side that the encoder sees; the encoder's own by default
    targets: Incidental[str | None] = (
        None  # of latents: folder of cached targets; `targets` below the latents by default
    )
    tap: PositiveInt = 2  # block whose tokens are aligned, from 1
    projector: Literal["perceptron", "convolution"] = "perceptron"
    hidden: PositiveInt = 2048  # of the perceptron
    filter: Literal["none", "normalise", "dog"] = "none"  # of the targets
    gamma: float = 0.6  # of normalise: share of the mean token that is taken off
    inner: float = 0.5  # of dog: sigma in tokens of the encoder's grid; 0: high-pass
    outer: float = 3.0  # of dog
    std: Std = "none"  # what the filtered targets are divided by
    loss: Literal["cosine", "gram"] = "cosine"


@dataclass(frozen=True)
class DiffusionRun:
    """A training of a diffusion model."""

    name: Incidental[str] = "tiny_sit"
    out: Incidental[str] = "runs/tiny_sit"  # run directory; the same command again resumes from it
    seed: int = 0
    steps: Changeable[PositiveInt] = 2000  # updates
    batch_size: PositiveInt = 64  # latents in one update, over all processes and micro-batches
    accumulation: PositiveInt = 1  # micro-batches of one update
    precision: Changeable[Literal["fp32", "bf16"]] = "fp32"
    compile: bool = False
    max_bad_steps: Incidental[PositiveInt] = 10  # stop after so many non-finite steps in a row
    trackers: Incidental[tuple[Literal["tensorboard", "wandb"], ...]] = ()
    source: Source = field(default_factory=Source)
    denoiser: DenoiserChoice = field(default_factory=DenoiserChoice)
    objective: ObjectiveChoice = field(default_factory=ObjectiveChoice)
    curriculum: Curriculum = field(default_factory=Curriculum)
    alignment: AlignmentChoice = field(default_factory=AlignmentChoice)
    optimizer: Optimizer = field(default_factory=Optimizer)
    preview: Incidental[SamplingChoice] = field(default_factory=SamplingChoice)
    intervals: Incidental[Intervals] = field(default_factory=Intervals)


def tiny(network: str = "SiT") -> DiffusionRun:
    """The CPU-sized preset: a transformer of width 192 and depth 6; set source.latents or source.images.

    Cost and expected numbers: docs/compare.md.
    """
    name = f"tiny_{network.lower()}"
    return DiffusionRun(
        name=name,
        out=f"runs/{name}",
        precision="bf16",
        denoiser=DenoiserChoice(f"{network}-tiny/1", time_scale=1000.0),
        optimizer=Optimizer(lr=5e-4, warmup=100, ema=0.999, weight_decay=0.0),
        intervals=Intervals(log=50, preview=1000, checkpoint=500),
    )


def celeba256_uvit(size: str, latents: str, steps: int) -> DiffusionRun:
    """CelebA-HQ 256 with U-ViT at 256 tokens, as in the paper's code: noise prediction on the VP path.

    Cost: not measured here; docs/compare.md estimates it. Source: Spectrum Matching (arXiv 2603.14645), the authors'
    configurations: batch 256, AdamW 2e-4, weight decay 0.03, betas 0.99, 5,000 warm-up updates, EMA 0.9999; 300,000
    updates on f16 latents, 500,000 on f8.
    """
    name = f"celeba256_{latents}_uvit_{size.lower()}"
    return DiffusionRun(
        name=name,
        out=f"runs/{name}",
        steps=steps,
        batch_size=256,
        precision="bf16",
        compile=True,
        source=Source(latents=f"latents/celeba256_{latents}", flip=True),
        denoiser=DenoiserChoice(f"UViT-{size}/{2 if latents == 'f8d4' else 1}", labels=False),
        objective=ObjectiveChoice(path="vp", prediction="noise"),
        optimizer=Optimizer(lr=2e-4, betas=(0.99, 0.99), weight_decay=0.03, warmup=5000, ema=0.9999),
        preview=SamplingChoice("dpm_solver", 50, labels="none"),
        intervals=Intervals(log=100, preview=25_000, checkpoint=10_000, keep_every=50_000),
    )


def imagenet256_sit(size: Size, latents: Latents) -> DiffusionRun:
    """ImageNet 256 with SiT at 256 tokens, linear path, velocity: patch 1 on f16d16 latents, patch 2 on SD-VAE's f8d4.

    Cost: not measured here; docs/compare.md estimates it. Source: SiT (arXiv 2401.08740), whose settings REPA's code
    and the paper's keep: batch 256, AdamW 1e-4 without decay, EMA 0.9999, 400,000 updates. Expected at f8d4 without
    guidance: Fréchet distance 33.0 for B (the same source); nothing is published for these f16d16 latents.
    """
    name = f"imagenet256_{latents}_sit_{size.lower()}"
    return DiffusionRun(
        name=name,
        out=f"runs/{name}",
        steps=400_000,
        batch_size=256,
        precision="bf16",
        compile=True,
        source=Source(latents=f"latents/imagenet256_{latents}", flip=True),
        denoiser=DenoiserChoice(f"SiT-{size}/{2 if latents == 'f8d4' else 1}"),
        optimizer=Optimizer(lr=1e-4, weight_decay=0.0, warmup=0, ema=0.9999),
        preview=SamplingChoice("euler_maruyama", 250),
        intervals=Intervals(log=100, preview=25_000, checkpoint=10_000, keep_every=50_000),
    )


def imagenet256_sit_repa(size: Size, latents: Latents, encoder: str = DINOV2) -> DiffusionRun:
    """REPA: a perceptron from block 8 (B: 4) to DINOv2-B's tokens, weight 0.5; no mirrored images, SD-VAE's own scale.

    Expected on f8d4, Fréchet distance at 400,000 updates without guidance: B 22.75, L 9.61, XL 7.76 (iREPA, arXiv
    2512.10794), XL 7.9 (REPA, arXiv 2410.06940), by 250 steps of Euler–Maruyama. B with guidance: 5.68 (a reader of
    Spectrum Matching, arXiv 2603.14645). Not run here; nothing is published for these f16d16 latents.
    """
    return imagenet256_aligned(
        size, latents, "repa", AlignmentChoice(weight=0.5, encoder=encoder, tap=4 if size == "B" else 8)
    )


def imagenet256_sit_irepa(
    size: Size, latents: Latents, encoder: str = DINOV2, gamma: float = 0.6, std: Std = "empirical"
) -> DiffusionRun:
    """iREPA: a 3 × 3 convolution to targets less gamma times their mean token, divided by their std; weight 1.

    Expected on f8d4, Fréchet distance at 400,000 updates without guidance: B 21.40, L 9.36, XL 7.52, XL with guidance
    1.93 (arXiv 2512.10794). B with guidance: 5.07 (a reader of Spectrum Matching, arXiv 2603.14645). Not run here;
    nothing is published for these f16d16 latents.
    """
    repa = imagenet256_sit_repa(size, latents, encoder).alignment
    changed = replace(repa, weight=1.0, projector="convolution", filter="normalise", gamma=gamma, std=std)
    return imagenet256_aligned(size, latents, "irepa", changed)


def imagenet256_sit_repa_dog(
    size: Size,
    latents: Latents,
    encoder: str = DINOV2,
    inner: float = 0.5,
    outer: float = 3.2,
    std: Std = "empirical",
) -> DiffusionRun:
    """REPA-DoG: as iREPA, with a difference of Gaussians over the 16 × 16 tokens in place of the normalisation.

    Expected on f8d4, Fréchet distance of B at 400,000 updates with guidance: 4.98, beside 5.07 for iREPA and 5.68 for
    REPA, one run each (a reader of Spectrum Matching, arXiv 2603.14645). The paper's sigmas are not known: these are a
    fifth of the grid and half a token, the middle of what others use. Not run here; nothing is published for these
    f16d16 latents.
    """
    irepa = imagenet256_sit_irepa(size, latents, encoder, std=std).alignment
    return imagenet256_aligned(size, latents, "repa_dog", replace(irepa, filter="dog", inner=inner, outer=outer))


def imagenet256_aligned(size: Size, latents: Latents, method: str, choice: AlignmentChoice) -> DiffusionRun:
    """SiT with an alignment, on data as REPA's code has them. On f8d4 latents, which the published numbers are of, the
    name says nothing of these.
    """
    run = imagenet256_sit(size, latents)
    if latents == "f8d4":
        run = replace(run, name=f"imagenet256_sit_{size.lower()}", source=replace(run.source, statistics="declared"))
    return aligned(replace(run, source=replace(run.source, flip=False)), method, choice)


def tiny_aligned(method: str) -> DiffusionRun:
    """The CPU-sized twin, towards orientations of gradients in cells of 4 pixels; set source and cache the targets.

    Sigmas are for 16 × 16 tokens, which images of 64 pixels have at f4. Cost of a step: bench/README.md. Never scored;
    what the plan cifar10_alignment measured of its like: docs/alignment.md.
    """
    published = ALIGNED[method]("B", "f8d4", encoder="gradients:4").alignment
    return aligned(tiny(), method, replace(published, tap=2, hidden=256))


def aligned(run: DiffusionRun, method: str, choice: AlignmentChoice) -> DiffusionRun:
    """`run` with an alignment, under a name that says so."""
    name = f"{run.name}_{method}"
    return replace(run, name=name, out=f"runs/{name}", alignment=choice)


ALIGNED = {"repa": imagenet256_sit_repa, "irepa": imagenet256_sit_irepa, "repa_dog": imagenet256_sit_repa_dog}
SIZES: tuple[Size, ...] = ("B", "L", "XL")
LATENTS: tuple[Latents, ...] = ("f8d4", "f16d16")
_IMAGENET256: list[Callable[[], DiffusionRun]] = [
    partial(make, size, latents)
    for make in (imagenet256_sit, *ALIGNED.values())
    for latents in LATENTS
    for size in SIZES
]
PRESETS: dict[str, Callable[[], DiffusionRun]] = {
    "tiny_sit": partial(tiny, "SiT"),
    "tiny_uvit": partial(tiny, "UViT"),
    **{f"tiny_sit_{method}": partial(tiny_aligned, method) for method in ALIGNED},
    "celeba256_f8d4_uvit_s": partial(celeba256_uvit, "S", "f8d4", 500_000),
    "celeba256_f16d16_uvit_s": partial(celeba256_uvit, "S", "f16d16", 300_000),
    "celeba256_f16d16_uvit_m": partial(celeba256_uvit, "M", "f16d16", 500_000),
    **{make().name: make for make in _IMAGENET256},
}


def on_latents(run: DiffusionRun, latents: str, autoencoder: str | None = None) -> DiffusionRun:
    """`run` on other cached latents."""
    return replace(run, source=replace(run.source, latents=latents, autoencoder=autoencoder))
