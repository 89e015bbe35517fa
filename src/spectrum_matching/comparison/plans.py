"""Plans: what a comparison compares and at which cost, as frozen records; one function for each family of presets."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from ..latents.gain_choice import GainChoice
from ..methods.zoo import KL_WEIGHT
from ..sampling.generate import PROTOCOLS, SamplingChoice
from ..spectrum.bands import Variant
from ..training import autoencoder_config, diffusion_config
from ..training.autoencoder_config import AutoencoderRun, Data, Intervals, MethodChoice, Optimizer
from ..training.diffusion_config import AlignmentChoice, Curriculum, DenoiserChoice, DiffusionRun

Several = Annotated[int, Field(ge=2)]  # fewer have no variance

DELTA, DELTAS = 1.0, (0.0, 0.4, 0.8, 1.0, 1.2)  # the main rows', and all
F8_DELTA = 1.2  # the paper's at f8
KL_FACTORS = (10, 1000)  # beside SD-VAE, which has the paper's strength
# Few updates need a larger weight of ESM than the paper's 0.01, which is for hundreds of thousands.
ESM_WEIGHT, PAPER_ESM_WEIGHT = 0.1, 0.01


@dataclass(frozen=True)
class Entry:
    """One row: the autoencoder's method, the gain on its latents, the diffusion model's curriculum and alignment."""

    method: MethodChoice = field(default_factory=MethodChoice)
    gain: GainChoice = field(default_factory=GainChoice)
    curriculum: Curriculum = field(default_factory=Curriculum)
    alignment: AlignmentChoice = field(default_factory=AlignmentChoice)


@dataclass(frozen=True)
class Measuring:
    """The images that autoencoders and samples are measured on, and how many."""

    data: str | None = None  # images that nothing was trained on; by default what each seed held out, as of training's
    reference_data: str | None = None  # images that samples are compared with, of training too; `data` by default
    features: str | None = None  # extractor: inception, dinov2, shufflenet, TorchScript, or python:FILE.py:FACTORY
    reference: Several = 10_000  # images that samples are compared with, at most
    samples: Several = 10_000  # images to generate
    reconstructions: Several = 2048  # images to reconstruct
    analyzed: Several = 512  # images whose latents are analyzed
    tested: Several = 128  # of these, images for tests of the decoder
    labels: bool = False  # metrics by class, of the classes of the images that are analyzed


@dataclass(frozen=True)
class Plan:
    """Methods × seeds, each from images to scores, at equal updates and equal in everything but the entry.

    `autoencoder` and `diffusion` hold what all trials share; seed, folders and the entry's settings are set for each.
    """

    name: str = "embedded"
    out: str = "runs/compare/embedded"  # a finished stage in it is not run again
    seeds: tuple[int, ...] = (0, 1)
    control: str = "autoencoder"  # the entry that the others are compared with
    entries: dict[str, Entry] = field(default_factory=dict)
    autoencoder: AutoencoderRun = field(default_factory=AutoencoderRun)
    diffusion: DiffusionRun = field(default_factory=DiffusionRun)
    sampling: SamplingChoice = field(default_factory=SamplingChoice)
    measuring: Measuring = field(default_factory=Measuring)
    cache: Literal["float16", "bfloat16", "float32"] = "float16"
    gigabytes: Annotated[float, Field(gt=0)] = 80  # memory of the GPU that it is for; --dry-run says what it takes


def main_entries(esm_weight: float = ESM_WEIGHT, delta: float = DELTA, cell: int = 4) -> dict[str, Entry]:
    """Return the rows of the unified view, and two controls: no extra term, and a curriculum on latents.

    cell: side in pixels of a cell of the histograms of oriented gradients that VA-VAE aligns with; one latent position.
    """
    paper = MethodChoice("esm", variant="paper", esm_weight=esm_weight, delta=delta)
    return {
        "autoencoder": Entry(),
        "SD-VAE": Entry(MethodChoice("sd_vae")),
        "ESM, paper": Entry(paper),
        "ESM, scale-free": Entry(replace(paper, variant="scale_free")),
        "DSM": Entry(MethodChoice("dsm")),
        "ESM + DSM": Entry(MethodChoice("esm_dsm", variant="scale_free", esm_weight=esm_weight, delta=delta)),
        "Scale Equivariance": Entry(MethodChoice("scale_equivariance")),
        "EQ-VAE": Entry(MethodChoice("eq_vae")),
        "VA-VAE, gradients": Entry(MethodChoice("va_vae", encoder=f"gradients:{cell}")),
        "curriculum": Entry(curriculum=Curriculum(keep=(3, 5, 7))),
    }


def all_entries(esm_weight: float = ESM_WEIGHT, delta: float = DELTA, cell: int = 4) -> dict[str, Entry]:
    """Return all baselines and ablations that the paper's claims need: the main rows, and their settings one by one."""
    kl = {f"KL x {factor}": Entry(MethodChoice("sd_vae", kl_weight=factor * KL_WEIGHT)) for factor in KL_FACTORS}
    variants: dict[str, Variant] = {"paper": "paper", "scale-free": "scale_free"}
    esm = {
        f"ESM, {name}, delta {other:g}": Entry(MethodChoice("esm", variant=variant, esm_weight=esm_weight, delta=other))
        for name, variant in variants.items()
        for other in DELTAS
        if other != delta
    }
    return main_entries(esm_weight, delta, cell) | kl | esm


def alignment_entries() -> dict[str, Entry]:
    """Return no alignment, REPA, iREPA and REPA-DoG, and each of their differences on its own, at one weight.

    Rows with "std" divide targets by their standard deviation: "normalised, std" is iREPA. "REPA, convolution" has
    iREPA's projector and REPA's targets.
    """
    repa = AlignmentChoice(0.5, "gradients:4", tap=2, hidden=256)
    plain = replace(repa, projector="convolution")
    rows = {"none": AlignmentChoice(), "REPA": repa, "REPA, convolution": plain}
    for name, choice in {
        "normalised": replace(plain, filter="normalise", gamma=0.6),
        "DoG band-pass": replace(plain, filter="dog", inner=0.5, outer=1.6),
        "DoG high-pass": replace(plain, filter="dog", inner=0.0, outer=1.6),
    }.items():
        rows |= {name: choice, f"{name}, std": replace(choice, std="empirical")}
    return {name: Entry(alignment=choice) for name, choice in rows.items()}


def demo(fast: bool = False) -> Plan:
    """Compare three methods from one seed on embedded photographs at 32 × 32; takes minutes on 2 cores.

    fast: a quarter of the updates and of what is measured.
    """
    part = 4 if fast else 1
    n = 256 // part
    entries, optimizer = main_entries(), Optimizer(lr=1e-3, warmup=30 if fast else 100, ema=0.99)
    plan = Plan(
        seeds=(0,),
        control="SD-VAE",
        entries={"SD-VAE": entries["SD-VAE"], "ESM": entries["ESM, scale-free"], "DSM": entries["DSM"]},
        autoencoder=tiny(240 // part, data=Data(size=32), optimizer=optimizer),
        diffusion=sit("micro/2", 320 // part, batch_size=32, optimizer=adam(1e-3, 20, ema=0.98)),
        sampling=SamplingChoice("dpm_solver", 20),
        measuring=Measuring(reference=256, samples=n, reconstructions=n, analyzed=n, tested=50 // part),
    )
    return named("demo-fast" if fast else "demo", lambda: plan)


def embedded(everything: bool = False) -> Plan:
    """Compare on embedded photographs at 64 × 64 on a CPU: a rehearsal, too small to tell methods apart."""
    return Plan(
        entries=all_entries() if everything else main_entries(),
        autoencoder=tiny(240),
        diffusion=sit("micro/2", 400),
        sampling=SamplingChoice("dpm_solver", 20),
        measuring=Measuring(reference=512, samples=512, reconstructions=256, analyzed=256, tested=50),
    )


def cifar10(everything: bool = False) -> Plan:
    """Compare on CIFAR-10 at 32 × 32, f4d8 latents of 8 × 8, class-conditional: about 7 minutes a trial on one core.

    Results are in docs/compare.md. The paper's smallest denoiser has 35 times the parameters and sees 480 times as
    many latents.
    """
    return Plan(
        seeds=(0, 1, 2),
        entries=all_entries() if everything else main_entries(),
        autoencoder=tiny(800, data=Data("data/cifar10/train.parquet", 32), intervals=Intervals(20, 800, 200)),
        diffusion=sit(
            "micro/2", 2500, batch_size=64, optimizer=adam(1e-3, 100, ema=0.998), intervals=Intervals(25, 2500, 500)
        ),
        sampling=SamplingChoice("dpm_solver", 25, batch_size=256),
        measuring=Measuring("data/cifar10/test.parquet", features="data/cifar10/features.pt", samples=4096),
    )


def cifar10_alignment() -> Plan:
    """Compare alignments with histograms of oriented gradients on CIFAR-10 at 32 × 32, 8 × 8 tokens, equal steps.

    Results and cost are in docs/alignment.md.
    """
    plan = cifar10()
    diffusion = sit(
        "micro/1", 800, batch_size=48, optimizer=adam(1e-3, 100, ema=0.995), intervals=Intervals(20, 800, 200)
    )
    measuring = replace(plan.measuring, samples=2048, reconstructions=512, analyzed=256, tested=64)
    return replace(
        plan, seeds=(0, 1), diffusion=diffusion, measuring=measuring, control="none", entries=alignment_entries()
    )


def celeba256(latents: Literal["f8d4", "f16d16"]) -> Plan:
    """Compare on CelebA-HQ 256 as in the paper: U-ViT-S, unconditional, 50 steps of DPM-Solver; set the data.

    Micro-batches fit one GPU of 80 GB; with several processes fewer will do.
    """
    make = autoencoder_config.celeba256_f8d4 if latents == "f8d4" else autoencoder_config.celeba256_f16d16
    delta, cell = (F8_DELTA, 8) if latents == "f8d4" else (DELTA, 16)
    return Plan(
        seeds=(0, 1, 2),
        entries=all_entries(PAPER_ESM_WEIGHT, delta, cell),
        autoencoder=replace(make("autoencoder"), accumulation=2),
        diffusion=diffusion_config.celeba256_uvit("S", latents, 500_000 if latents == "f8d4" else 300_000),
        sampling=replace(PROTOCOLS["uvit_celeba"], batch_size=256, precision="bf16"),
        measuring=Measuring(
            "data/celeba256_test", "data/celeba256", INCEPTION, reference=30_000, samples=10_000, reconstructions=5000
        ),
    )


def imagenet256(size: Literal["B", "XL"]) -> Plan:
    """Compare on ImageNet 256 with SiT at patch 1 on f16d16 latents, 50,000 class-balanced samples; set the data.

    All autoencoders have 525,000 updates, the paper's for DSM; its SD-VAE had 325,000. Samples are unguided: the
    paper's guidance is not known. Micro-batches fit one GPU of 80 GB; with several processes fewer will do.
    """
    return Plan(
        seeds=(0,),
        entries=all_entries(PAPER_ESM_WEIGHT, cell=16),
        autoencoder=replace(autoencoder_config.imagenet256_f16d16("autoencoder"), accumulation=4),
        diffusion=replace(diffusion_config.imagenet256_sit(size, "f16d16"), accumulation=2 if size == "XL" else 1),
        sampling=replace(PROTOCOLS["sit"], batch_size=256, precision="bf16"),
        measuring=Measuring(
            "data/imagenet/val", "data/imagenet/train", INCEPTION, 1_281_167, samples=50_000, reconstructions=50_000
        ),
    )


INCEPTION = "inception:weights/pt_inception-2015-12-05-6726825d.pth"


def tiny(steps: int, **changes: Any) -> AutoencoderRun:
    """Return the run of an autoencoder, with changes to the preset `tiny_autoencoder`."""
    return replace(autoencoder_config.tiny(), steps=steps, **changes)


def sit(size: str, steps: int, **changes: Any) -> DiffusionRun:
    """Return the run of a SiT, such as "micro/2", with changes to the preset `tiny_sit`."""
    denoiser = DenoiserChoice(f"SiT-{size}", time_scale=1000.0)
    return replace(diffusion_config.tiny(), denoiser=denoiser, steps=steps, **changes)


def adam(lr: float, warmup: int, ema: float) -> Optimizer:
    """Return an optimizer without weight decay."""
    return Optimizer(lr=lr, warmup=warmup, ema=ema, weight_decay=0.0)


def named(name: str, make: Callable[[], Plan]) -> Plan:
    """Return a plan under a name, written to a folder of that name."""
    return replace(make(), name=name, out=f"runs/compare/{name}")


MAKE: dict[str, Callable[[], Plan]] = {
    "embedded": embedded,
    "embedded_all": partial(embedded, everything=True),
    "cifar10": cifar10,
    "cifar10_all": partial(cifar10, everything=True),
    "cifar10_alignment": cifar10_alignment,
    "celeba256_f8d4": partial(celeba256, "f8d4"),
    "celeba256_f16d16": partial(celeba256, "f16d16"),
    "imagenet256_sit_b": partial(imagenet256, "B"),
    "imagenet256_sit_xl": partial(imagenet256, "XL"),
}
PLANS: dict[str, Callable[[], Plan]] = {name: partial(named, name, make) for name, make in MAKE.items()}
NOT_RUN = tuple(name for name in PLANS if name not in ("embedded", "cifar10", "cifar10_alignment"))
"""Plans that have been checked but not run."""
