"""Runs of latent diffusion: frozen records of everything that decides a training, made by one function a preset."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from .runs import Cadence, Optimizer

PathKind = Literal["linear", "cosine", "vp"]
Prediction = Literal["velocity", "noise", "data"]
TimesKind = Literal["uniform", "log_normal", "shifted"]
SamplerName = Literal["euler", "heun", "euler_maruyama", "dpm_solver"]


@dataclass(frozen=True)
class Source:
    """What is learned: cached latents, images encoded on the fly, or pixels (images without an autoencoder)."""

    latents: str | None = None  # a folder of cached latents
    images: str | None = None  # instead: embedded, a folder, a parquet file, or hub:NAME
    autoencoder: str | None = None  # encodes images, decodes samples; the cache's own by default
    size: int = 64  # of images: pixels on a side
    held_out: float = 0.05  # of images: share that training never sees
    crop: Literal["random", "center"] = "center"
    flip: bool = False  # mirrored images too; a cache must hold them
    on_bad: Literal["skip", "refuse"] = "skip"
    workers: int = 0
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
    gamma: float = 5.0  # of min_snr
    label_dropout: float = 0.1


@dataclass(frozen=True)
class Curriculum:
    """Low-passed latents first: the strengths in turn over the first `share` of the steps, then everything.

    A control of spectrum matching: coarse-to-fine learning in the diffusion model alone.
    """

    keep: tuple[int, ...] = ()  # diagonals of each block's DCT that stay; none: no curriculum
    block: int = 8
    share: float = 0.5


@dataclass(frozen=True)
class SamplingChoice:
    """How samples are drawn."""

    sampler: SamplerName = "euler"
    steps: int = 50
    guidance: float = 1.0  # classifier-free; 1: none
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # the t in which it acts
    labels: str = "balanced"  # balanced, random, none, or a class by number
    seed: int = 0
    batch_size: int = 64
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class DiffusionRun:
    """A training of a diffusion model."""

    name: str = "tiny_sit"
    out: str = "runs/tiny_sit"  # run directory; the same command again resumes from it
    seed: int = 0
    steps: int = 2000  # updates
    batch_size: int = 64  # latents in one update, over all processes and micro-batches
    accumulation: int = 1  # micro-batches of one update
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    max_bad_steps: int = 10  # stop after so many non-finite steps in a row
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    source: Source = field(default_factory=Source)
    denoiser: DenoiserChoice = field(default_factory=DenoiserChoice)
    objective: ObjectiveChoice = field(default_factory=ObjectiveChoice)
    curriculum: Curriculum = field(default_factory=Curriculum)
    optimizer: Optimizer = field(default_factory=Optimizer)
    preview: SamplingChoice = field(default_factory=SamplingChoice)
    cadence: Cadence = field(default_factory=Cadence)


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
        cadence=Cadence(log=50, preview=1000, checkpoint=500),
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
        cadence=Cadence(log=100, preview=25_000, checkpoint=10_000, keep_every=50_000),
    )


def imagenet256_sit(size: str) -> DiffusionRun:
    """ImageNet 256 with SiT at patch 1 on f16d16 latents, linear path, velocity.

    Cost: not measured here; docs/compare.md estimates it. Source: SiT (arXiv 2401.08740), whose settings REPA's code
    and the paper's keep: batch 256, AdamW 1e-4 without decay, EMA 0.9999, 400,000 updates.
    """
    name = f"imagenet256_f16d16_sit_{size.lower()}"
    return DiffusionRun(
        name=name,
        out=f"runs/{name}",
        steps=400_000,
        batch_size=256,
        precision="bf16",
        compile=True,
        source=Source(latents="latents/imagenet256_f16d16", flip=True),
        denoiser=DenoiserChoice(f"SiT-{size}/1"),
        optimizer=Optimizer(lr=1e-4, weight_decay=0.0, warmup=0, ema=0.9999),
        preview=SamplingChoice("euler_maruyama", 250),
        cadence=Cadence(log=100, preview=25_000, checkpoint=10_000, keep_every=50_000),
    )


PRESETS = {
    "tiny_sit": partial(tiny, "SiT"),
    "tiny_uvit": partial(tiny, "UViT"),
    "celeba256_f8d4_uvit_s": partial(celeba256_uvit, "S", "f8d4", 500_000),
    "celeba256_f16d16_uvit_s": partial(celeba256_uvit, "S", "f16d16", 300_000),
    "celeba256_f16d16_uvit_m": partial(celeba256_uvit, "M", "f16d16", 500_000),
    "imagenet256_f16d16_sit_b": partial(imagenet256_sit, "B"),
    "imagenet256_f16d16_sit_l": partial(imagenet256_sit, "L"),
    "imagenet256_f16d16_sit_xl": partial(imagenet256_sit, "XL"),
}


def on_latents(run: DiffusionRun, latents: str, autoencoder: str | None = None) -> DiffusionRun:
    """`run` on other cached latents."""
    return replace(run, source=replace(run.source, latents=latents, autoencoder=autoencoder))
