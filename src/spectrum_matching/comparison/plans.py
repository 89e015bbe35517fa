"""Plans: what a comparison compares, at which cost, as frozen records made by one function for each preset."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from ..sampling.generate import SamplingChoice
from ..spectrum.bands import Variant
from ..training import autoencoder_config, diffusion_config
from ..training.autoencoder_config import AutoencoderRun, Data, Intervals, MethodChoice, Optimizer
from ..training.diffusion_config import AlignmentChoice, Curriculum, DenoiserChoice, DiffusionRun

Several = Annotated[int, Field(ge=2)]  # fewer have no variance

DELTAS = (0.0, 0.4, 0.8, 1.2)  # beside 1, the default
KL_WEIGHTS = (1e-4, 1e-2)  # beside 1e-6, SD-VAE's


@dataclass(frozen=True)
class Entry:
    """One row: how the autoencoder is trained, and what the diffusion model is trained with, if anything."""

    method: MethodChoice = field(default_factory=MethodChoice)
    curriculum: Curriculum = field(default_factory=Curriculum)
    alignment: AlignmentChoice = field(default_factory=AlignmentChoice)


@dataclass(frozen=True)
class Measuring:
    """On what, and on how much of it, autoencoders and samples are measured."""

    data: str | None = None  # images that nothing was trained on; by default those that each seed held out
    reference_data: str | None = None  # what samples are held against; `data` by default
    features: str | None = None  # extractor: inception, dinov2, a TorchScript file or python:FILE.py:FACTORY
    reference: Several = 10_000  # images that samples are held against, at most
    samples: Several = 10_000  # images to generate
    reconstructions: Several = 2048  # images to reconstruct
    analyzed: Several = 512  # images whose latents are analyzed
    tested: Several = 128  # of these, images for what decodes again


@dataclass(frozen=True)
class Plan:
    """Methods × seeds, each from images to scores: equal updates, equal everything but the entry.

    `autoencoder` and `diffusion` say what all trials share; seed, folders and what an entry says are set for each.
    """

    name: str = "embedded"
    out: str = "runs/compare/embedded"  # the same command again goes on; finished stages are not run again
    seeds: tuple[int, ...] = (0, 1)
    control: str = "autoencoder"  # the entry that the others are held against
    entries: dict[str, Entry] = field(default_factory=dict)
    autoencoder: AutoencoderRun = field(default_factory=AutoencoderRun)
    diffusion: DiffusionRun = field(default_factory=DiffusionRun)
    sampling: SamplingChoice = field(default_factory=SamplingChoice)
    measuring: Measuring = field(default_factory=Measuring)
    cache: Literal["float16", "bfloat16", "float32"] = "float16"


def main_entries(esm_weight: float = 0.1) -> dict[str, Entry]:
    """The rows of the unified view that need no vision encoder, and two controls.

    Few updates need a larger weight of ESM than the paper's 0.01, which it gives hundreds of thousands.
    """
    paper = MethodChoice("esm", variant="paper", esm_weight=esm_weight)
    return {
        "autoencoder": Entry(),
        "SD-VAE": Entry(MethodChoice("sd_vae")),
        "ESM, paper": Entry(paper),
        "ESM, scale-free": Entry(replace(paper, variant="scale_free")),
        "DSM": Entry(MethodChoice("dsm")),
        "EQ-VAE": Entry(MethodChoice("eq_vae")),
        "curriculum": Entry(curriculum=Curriculum(keep=(3, 5, 7))),
    }


def all_entries(esm_weight: float = 0.1, cell: int = 4) -> dict[str, Entry]:
    """Everything that a claim of the paper has to be held against: the main rows, and their settings one by one.

    cell: pixels of a cell of VA-VAE's orientations of gradients, which need no weights; one latent cell is apt.
    """
    kl = {f"KL {weight:g}": Entry(MethodChoice("sd_vae", kl_weight=weight)) for weight in KL_WEIGHTS}
    variants: dict[str, Variant] = {"paper": "paper", "scale-free": "scale_free"}
    esm = {
        f"ESM, {name}, delta {delta:g}": Entry(MethodChoice("esm", variant=variant, esm_weight=esm_weight, delta=delta))
        for name, variant in variants.items()
        for delta in DELTAS
    }
    both = MethodChoice("esm_dsm", variant="scale_free", esm_weight=esm_weight)
    others = {
        "ESM + DSM": Entry(both),
        "Scale Equivariance": Entry(MethodChoice("scale_equivariance")),
        "VA-VAE, gradients": Entry(MethodChoice("va_vae", encoder=f"gradients:{cell}")),
    }
    return {**main_entries(esm_weight), **kl, **esm, **others}


def alignment_entries(encoder: str, tap: int, hidden: int, outer: float, weight: float = 0.5) -> dict[str, Entry]:
    """No alignment, REPA, iREPA and REPA-DoG, and each of their differences on its own, at one weight.

    outer: in tokens of the encoder's grid. Rows with "std" divide targets by their standard deviation, the others do
    not: "normalised, std" is iREPA. "REPA, convolution" has iREPA's projector and REPA's targets.
    """
    repa = AlignmentChoice(weight, encoder, tap=tap, hidden=hidden)
    plain = replace(repa, projector="convolution")
    filters = {
        "normalised": replace(plain, filter="normalise", gamma=0.6),
        "DoG band-pass": replace(plain, filter="dog", inner=0.5, outer=outer),
        "DoG high-pass": replace(plain, filter="dog", inner=0.0, outer=outer),
    }
    crossed = {
        f"{name}{', std' if std == 'empirical' else ''}": replace(choice, std=std)
        for name, choice in filters.items()
        for std in ("none", "empirical")
    }
    rows = {"none": AlignmentChoice(), "REPA": repa, "REPA, convolution": plain, **crossed}
    return {name: Entry(alignment=choice) for name, choice in rows.items()}


def demo(fast: bool = False) -> Plan:
    """Three methods from one seed on embedded photographs, minutes on 2 cores.

    fast: images of half the side, a quarter of the updates and of what is measured.
    """
    part = 4 if fast else 1
    plan = Plan(
        seeds=(0,),
        control="SD-VAE",
        entries={
            "SD-VAE": Entry(MethodChoice("sd_vae")),
            # Few updates need a larger weight than the paper's 0.01, which it gives hundreds of thousands.
            "ESM": Entry(MethodChoice("esm", variant="scale_free", esm_weight=0.1)),
            "DSM": Entry(MethodChoice("dsm")),
        },
        autoencoder=replace(
            autoencoder_config.tiny(),
            steps=240 // part,
            data=Data(size=32 if fast else 64),
            optimizer=Optimizer(lr=1e-3, warmup=30 if fast else 100, ema=0.99),
        ),
        diffusion=replace(
            diffusion_config.tiny(),
            steps=320 // part,
            batch_size=32,
            denoiser=DenoiserChoice("SiT-micro/2", time_scale=1000.0),
            optimizer=Optimizer(lr=1e-3, warmup=20, ema=0.98, weight_decay=0.0),
        ),
        sampling=SamplingChoice("dpm_solver", 20, precision="bf16"),
        measuring=Measuring(
            reference=256, samples=256 // part, reconstructions=256 // part, analyzed=256 // part, tested=50 // part
        ),
    )
    return renamed(plan, "demo-fast" if fast else "demo")


def embedded(everything: bool = False) -> Plan:
    """Embedded photographs at 64 × 64 on a CPU: a rehearsal, too small to tell methods apart.

    Cost: docs/compare.md.
    """
    plan = Plan(
        name="embedded",
        entries=all_entries() if everything else main_entries(),
        autoencoder=replace(autoencoder_config.tiny(), steps=240),
        diffusion=replace(
            diffusion_config.tiny(), steps=400, denoiser=DenoiserChoice("SiT-micro/2", time_scale=1000.0)
        ),
        sampling=SamplingChoice("dpm_solver", 20),
        measuring=Measuring(reference=512, samples=512, reconstructions=256, analyzed=256, tested=50),
    )
    return renamed(plan, "embedded_all" if everything else "embedded")


def cifar10(everything: bool = False) -> Plan:
    """CIFAR-10 at 32 × 32, f4d8 latents of 8 × 8, class-conditional: about two hours on 2 cores.

    Expected numbers: docs/compare.md. The paper's smallest denoiser has 35 times the parameters and sees 480 times as
    many latents.
    """
    plan = Plan(
        entries=all_entries() if everything else main_entries(),
        autoencoder=replace(
            autoencoder_config.tiny(),
            steps=800,
            data=Data(path="data/cifar10/train.parquet", size=32),
            intervals=Intervals(log=20, preview=800, checkpoint=200),
        ),
        diffusion=replace(
            diffusion_config.tiny(),
            steps=2500,
            batch_size=64,
            denoiser=DenoiserChoice("SiT-micro/2", time_scale=1000.0),
            optimizer=Optimizer(lr=1e-3, warmup=100, ema=0.998, weight_decay=0.0),
            intervals=Intervals(log=25, preview=2500, checkpoint=500),
        ),
        sampling=SamplingChoice("dpm_solver", 25, batch_size=256, precision="bf16"),
        measuring=Measuring(
            data="data/cifar10/test.parquet", features="data/cifar10/features.pt", samples=4096, reference=10_000
        ),
    )
    return renamed(plan, "cifar10_all" if everything else "cifar10")


def cifar10_sit_s() -> Plan:
    """CIFAR-10 at 32 × 32 with SiT-S at 64 tokens and three seeds, for one GPU; not run yet."""
    plan = cifar10()
    data = replace(plan.autoencoder.data, workers=8)
    plan = replace(
        plan,
        seeds=(0, 1, 2),
        autoencoder=replace(plan.autoencoder, steps=20_000, batch_size=64, data=data, precision="bf16"),
        diffusion=replace(
            plan.diffusion,
            steps=100_000,
            batch_size=256,
            denoiser=DenoiserChoice("SiT-S/1", time_scale=1000.0),
            optimizer=Optimizer(lr=2e-4, warmup=1000, ema=0.9999, weight_decay=0.0),
            intervals=Intervals(log=100, preview=10_000, checkpoint=5000),
            precision="bf16",
            compile=True,
        ),
        sampling=SamplingChoice("dpm_solver", 50, batch_size=1024, precision="bf16"),
        measuring=replace(plan.measuring, samples=10_000),
    )
    return renamed(plan, "cifar10_sit_s")


def cifar10_alignment(network: str = "micro") -> Plan:
    """CIFAR-10 at 32 × 32: alignments with orientations of gradients, 8 × 8 tokens, equal steps; SiT-S is for one GPU.

    Expected numbers and cost: docs/alignment.md; SiT-S was never run.
    """
    plan = cifar10() if network == "micro" else cifar10_sit_s()
    entries = alignment_entries("gradients:4", tap=2 if network == "micro" else 4, hidden=256, outer=1.6)
    if network == "micro":
        diffusion = replace(
            plan.diffusion,
            steps=800,
            batch_size=48,
            denoiser=DenoiserChoice("SiT-micro/1", time_scale=1000.0),
            optimizer=Optimizer(lr=1e-3, warmup=100, ema=0.995, weight_decay=0.0),
            intervals=Intervals(log=20, preview=800, checkpoint=200),
        )
        measuring = replace(plan.measuring, samples=2048, reconstructions=512, analyzed=256, tested=64)
        plan = replace(plan, diffusion=diffusion, measuring=measuring)
    plan = replace(plan, control="none", entries=entries)
    return renamed(plan, "cifar10_alignment" if network == "micro" else "cifar10_alignment_sit_s")


def celeba256(latents: Literal["f8d4", "f16d16"]) -> Plan:
    """CelebA-HQ 256 as in the paper: U-ViT-S, unconditional, 10,000 samples by 50 steps of DPM-Solver; set the data.

    Cost: docs/compare.md estimates it; nothing of this size was run.
    """
    make = autoencoder_config.celeba256_f8d4 if latents == "f8d4" else autoencoder_config.celeba256_f16d16
    steps = 500_000 if latents == "f8d4" else 300_000
    plan = Plan(
        seeds=(0, 1, 2),
        entries=all_entries(esm_weight=0.01, cell=8 if latents == "f8d4" else 16),
        autoencoder=make("autoencoder"),
        diffusion=diffusion_config.celeba256_uvit("S", latents, steps),
        sampling=SamplingChoice("dpm_solver", 50, labels="none", batch_size=256, precision="bf16"),
        measuring=Measuring(
            data="data/celeba256_test",
            reference_data="data/celeba256",
            features="inception:weights/pt_inception-2015-12-05-6726825d.pth",
            reference=30_000,
            samples=10_000,
            reconstructions=5000,
        ),
    )
    return renamed(plan, f"celeba256_{latents}")


def imagenet256(size: Literal["B", "XL"]) -> Plan:
    """ImageNet 256 with SiT at patch 1 on f16d16 latents, 50,000 class-balanced samples; set the data.

    Cost: docs/compare.md estimates it; nothing of this size was run.
    """
    plan = Plan(
        seeds=(0,),
        entries=all_entries(esm_weight=0.01, cell=16),
        autoencoder=autoencoder_config.imagenet256_f16d16("autoencoder"),
        diffusion=diffusion_config.imagenet256_sit(size, "f16d16"),
        sampling=SamplingChoice("euler_maruyama", 250, batch_size=256, precision="bf16"),
        measuring=Measuring(
            data="data/imagenet/val",
            reference_data="data/imagenet/train",
            features="inception:weights/pt_inception-2015-12-05-6726825d.pth",
            reference=1_281_167,
            samples=50_000,
            reconstructions=50_000,
        ),
    )
    return renamed(plan, f"imagenet256_sit_{size.lower()}")


def renamed(plan: Plan, name: str) -> Plan:
    """`plan` under another name, written to a folder of that name."""
    return replace(plan, name=name, out=f"runs/compare/{name}")


PLANS: dict[str, Callable[[], Plan]] = {
    "embedded": embedded,
    "embedded_all": partial(embedded, everything=True),
    "cifar10": cifar10,
    "cifar10_all": partial(cifar10, everything=True),
    "cifar10_sit_s": cifar10_sit_s,
    "cifar10_alignment": cifar10_alignment,
    "cifar10_alignment_sit_s": partial(cifar10_alignment, "S"),
    "celeba256_f8d4": partial(celeba256, "f8d4"),
    "celeba256_f16d16": partial(celeba256, "f16d16"),
    "imagenet256_sit_b": partial(imagenet256, "B"),
    "imagenet256_sit_xl": partial(imagenet256, "XL"),
}
NOT_RUN = tuple(name for name in PLANS if name not in ("embedded", "cifar10", "cifar10_alignment"))
"""Plans that have been checked but not run."""
