"""Plans of the frequency-bias study: data, losses, seeds and training cost, as frozen records."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ...diffusion.path import Kind, Prediction
from ...files.settings import NotHashed
from ...metrics.images.pixels import SSIM_WINDOW
from ...nets.denoiser.build import build_denoiser

AtLeastTwo = Annotated[int, Field(ge=2)]
NoiseTime = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class CaseSpec:
    """Data and loss of one case; everything else is the plan's.

    data: images with their power times f^delta; Gaussian surrogates of the images; Gaussian fields of power
    1/f^exponent; latents of an autoencoder. loss_power, inverse_power: squared DCT errors are weighted by f^loss_power,
    or by the inverse of their band's power. prediction: the plan's by default.
    """

    data: Literal["images", "surrogates", "gaussian", "latents"] = "images"
    delta: float = 0.0
    exponent: float = 0.0
    autoencoder: str = ""
    loss_power: float = 0.0
    inverse_power: bool = False
    prediction: Prediction | None = None


@dataclass(frozen=True)
class FrequencyPlan:
    """Cases × seeds. The first seed runs every case, the others only those named in `main`."""

    name: NotHashed[str] = "embedded"
    out: NotHashed[str] = "runs/study/frequency-bias/embedded"  # rerun the same command to resume
    data: NotHashed[str] = "embedded"  # or a folder, a parquet file, hub:NAME; a part is held out
    size: Annotated[int, Field(ge=8)] = 32  # pixels on a side
    n_train: AtLeastTwo = 4096
    n_test: Annotated[int, Field(ge=3)] = 48  # held-out images on which errors are measured
    denoiser: str = "SiT-micro/4"  # of pixels
    latent_denoiser: str = "SiT-micro/1"
    path: Kind = "linear"
    prediction: Prediction = "velocity"
    steps: PositiveInt = 240
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 20
    precision: Literal["fp32", "bf16"] = "fp32"
    eval_points: AtLeastTwo = 8  # updates at which errors are measured, spaced geometrically
    times: Annotated[tuple[NoiseTime, ...], Field(min_length=1)] = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
    bands: Annotated[int, Field(ge=3)] = 12  # at most; fewer than 5 have no rank correlation
    samples: AtLeastTwo = 48  # generated, by Heun's method
    sampling_steps: PositiveInt = 20
    seeds: NotHashed[Annotated[tuple[int, ...], Field(min_length=1)]] = (0,)
    main: NotHashed[tuple[str, ...]] = ("images", "images, delta 2", "white noise")
    deltas: NotHashed[tuple[float, ...]] = (-1.0, 0.5, 1.0, 1.5, 2.0)
    exponents: NotHashed[tuple[float, ...]] = (0.0, 1.0, 2.0)  # of Gaussian fields
    loss_powers: NotHashed[tuple[float, ...]] = (-1.0, 1.0)
    predictions: NotHashed[tuple[Prediction, ...]] = ("data",)
    autoencoders: NotHashed[tuple[str, ...]] = ()  # NAME=SOURCE each
    injected: NotHashed[Annotated[int, Field(ge=0)]] = 64  # images to which errors are added, 0 for none
    pixels_per_degree: PositiveFloat = 32.0  # assumed for contrast sensitivity
    features: NotHashed[str | None] = None  # extractor: inception:PATH, dinov2, TorchScript, python:FILE.py:FACTORY

    @property
    def sources(self) -> dict[str, str]:
        """The autoencoders' sources by name."""
        return {name: source for name, _, source in (entry.partition("=") for entry in self.autoencoders)}

    @property
    def cases(self) -> dict[str, CaseSpec]:
        """The cases by name, those of the control first; an option that changes nothing has no case of its own."""
        gaussian = {f"Gaussian, 1/f^{power:g}" if power else "white noise": power for power in self.exponents}
        return {
            "images": CaseSpec(),
            **{f"images, delta {delta:g}": CaseSpec(delta=delta) for delta in self.deltas if delta},
            "Gaussian surrogates": CaseSpec("surrogates"),
            **{name: CaseSpec("gaussian", exponent=exponent) for name, exponent in gaussian.items()},
            **{f"loss times f^{power:g}": CaseSpec(loss_power=power) for power in self.loss_powers if power},
            "loss over power": CaseSpec(inverse_power=True),
            **{f"predicts {each}": CaseSpec(prediction=each) for each in self.predictions if each != self.prediction},
            **{f"latents of {name}": CaseSpec("latents", autoencoder=name) for name in self.sources},
        }

    @property
    def trials(self) -> list[tuple[str, int]]:
        """(case, seed), in the order in which they are run."""
        first, *others = self.seeds
        main = [name for name in self.cases if name in self.main]
        return [(name, first) for name in self.cases] + [(name, seed) for seed in others for name in main]

    @property
    def autocast(self) -> bool:
        """Whether networks run in bfloat16."""
        return self.precision == "bf16"


def check_plan(plan: FrequencyPlan) -> None:
    """Check what the types of the fields cannot say, without opening any data.

    Raises:
        ValueError: for a plan that cannot be run.
    """
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds must be unique, got {plan.seeds}")
    if not all(plan.sources.values()) or len(plan.sources) < len(plan.autoencoders):
        raise ValueError(f"autoencoders must be NAME=SOURCE with unique names, got {plan.autoencoders}")
    if plan.injected and plan.size < SSIM_WINDOW:
        least = f"expected at least {SSIM_WINDOW}, the window of SSIM"
        raise ValueError(f"size is {plan.size}, {least}; or set injected to 0, without which SSIM is not measured")
    build_denoiser(plan.denoiser, 3, (plan.size, plan.size), time_scale=1000.0)
    if plan.autoencoders:
        build_denoiser(plan.latent_denoiser, 4, (16, 16), time_scale=1000.0)  # the name; latents are not known yet


CIFAR10 = FrequencyPlan(
    name="cifar10",
    out="runs/study/frequency-bias/cifar10",
    data="data/cifar10/train.parquet",
    n_train=16_384,
    n_test=96,
    steps=640,
    batch_size=32,
    eval_points=9,
    samples=128,
    seeds=(0, 1),
    injected=128,
    features="data/cifar10/features.pt",
)
GPU = replace(
    CIFAR10,
    name="gpu",
    out="runs/study/frequency-bias/gpu",
    n_train=47_000,
    n_test=1024,
    denoiser="SiT-S/2",
    latent_denoiser="SiT-S/1",
    steps=50_000,
    batch_size=256,
    learning_rate=2e-4,
    warmup=1000,
    precision="bf16",
    eval_points=14,
    samples=2048,
    sampling_steps=25,
    seeds=(0, 1, 2),
    injected=1024,
)
PLANS = {"embedded": FrequencyPlan(), "cifar10": CIFAR10, "gpu": GPU}
"""By name. embedded: photographs at 32 × 32, about 10 minutes of one core; too small to decide much, expected numbers
in docs/study.md. cifar10: two seeds of the main cases, about an hour of one core; expected numbers in docs/theory.md.
gpu: CIFAR-10 with SiT-S at 256 tokens and three seeds, for one GPU; never run yet.
"""
