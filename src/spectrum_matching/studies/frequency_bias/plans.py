"""Plans of the frequency-bias study: which data, losses and seeds, at which cost, as frozen records."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from ...diffusion.path import Kind, Path, Prediction
from ...nets.denoiser.build import build_denoiser
from .training import Schedule

FEWEST_BANDS = 3  # that a power law can be fitted to
MOST_INJECTED = 0.1  # of images at 0.6 of their contrast

Data = Literal["images", "twins", "gaussian", "latents"]
Sampler = Literal["euler", "heun", "euler_maruyama", "dpm_solver"]


@dataclass(frozen=True)
class Subject:
    """What one case learns, and by which loss; everything else is the plan's.

    data: images with their power times f^delta; Gaussian twins of the images, with their spectrum; Gaussian fields of
    power 1/f^exponent; the latents of an autoencoder. loss_power, inverse_power: the squared
    error is weighted by f^loss_power, or by 1 over the power of its band.
    """

    data: Data = "images"
    delta: float = 0.0
    exponent: float = 0.0
    autoencoder: str = ""
    loss_power: float = 0.0
    inverse_power: bool = False
    prediction: Prediction | None = None  # the plan's by default


@dataclass(frozen=True)
class FrequencyPlan:
    """Cases × seeds. The first seed runs every case, the others only those named in `main`."""

    name: str = "embedded"
    out: str = "runs/study/frequency-bias/embedded"  # the same command again goes on; finished cases are not run again
    data: str = "embedded"  # or a folder, a parquet file, hub:NAME; a part is held out
    size: int = 32  # pixels on a side
    n_train: int = 4096
    n_test: int = 48  # held-out images that errors are measured on
    denoiser: str = "SiT-micro/4"  # of pixels
    latent_denoiser: str = "SiT-micro/1"
    path: Kind = "linear"
    prediction: Prediction = "velocity"
    steps: int = 240
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup: int = 20
    precision: Literal["fp32", "bf16"] = "fp32"
    looks: int = 8  # updates at which errors are measured, spaced geometrically
    times: tuple[float, ...] = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)  # noise levels
    bands: int = 12  # at most
    samples: int = 48  # images to generate
    sampler: Sampler = "heun"
    sampling_steps: int = 20
    seeds: tuple[int, ...] = (0,)
    main: tuple[str, ...] = ("images", "images, delta 2", "white noise")
    deltas: tuple[float, ...] = (-1.0, 0.5, 1.0, 1.5, 2.0)  # beside 0
    twins: bool = True  # Gaussian fields of the images' own spectrum
    exponents: tuple[float, ...] = (0.0, 1.0, 2.0)  # of Gaussian fields
    loss_powers: tuple[float, ...] = (-1.0, 1.0)
    inverse_power: bool = True  # the loss over each band's power
    predictions: tuple[Prediction, ...] = ("data",)  # beside the plan's
    autoencoders: tuple[str, ...] = ()  # NAME=SOURCE each: latents of the same images
    injected: int = 64  # images that errors are put into, 0 for none
    injected_rms: float = 0.08  # in the images' range of 2
    pixels_per_degree: float = 32.0  # at which images are looked at
    lpips: str | None = None  # weights of LPIPS
    features: str | None = None  # extractor: inception, dinov2, a TorchScript file or python:FILE.py:FACTORY

    @property
    def sources(self) -> dict[str, str]:
        """Of the autoencoders, by name."""
        return {name: source for name, _, source in (each.partition("=") for each in self.autoencoders)}

    @property
    def subjects(self) -> dict[str, Subject]:
        """The cases by name, those of the control first."""
        found = {"images": Subject()}
        found |= {f"images, delta {delta:g}": Subject(delta=delta) for delta in self.deltas}
        if self.twins:
            found["Gaussian twins"] = Subject("twins")
        for exponent in self.exponents:
            name = f"Gaussian, 1/f^{exponent:g}" if exponent else "white noise"
            found[name] = Subject("gaussian", exponent=exponent)
        found |= {f"loss times f^{power:g}": Subject(loss_power=power) for power in self.loss_powers}
        if self.inverse_power:
            found["loss over power"] = Subject(inverse_power=True)
        found |= {f"predicts {prediction}": Subject(prediction=prediction) for prediction in self.predictions}
        return found | {f"latents of {name}": Subject("latents", autoencoder=name) for name in self.sources}

    @property
    def trials(self) -> list[tuple[str, int]]:
        """(case, seed), in the order in which they are run."""
        first, *others = self.seeds
        return [(name, first) for name in self.subjects] + [
            (name, seed) for seed in others for name in self.subjects if name in self.main
        ]

    @property
    def schedule(self) -> Schedule:
        """Of every case."""
        return Schedule(self.steps, self.batch_size, self.learning_rate, self.warmup)

    def path_of(self, subject: Subject) -> Path:
        """From data to noise, and what is predicted."""
        return Path(self.path, subject.prediction or self.prediction)


def check_plan(plan: FrequencyPlan) -> None:
    """ValueError for what no data could mend."""
    counts = ("n_train", "n_test", "batch_size", "looks", "bands", "samples", "injected", "sampling_steps", "steps")
    least = {"n_test": 3, "n_train": 2, "looks": 2, "bands": FEWEST_BANDS, "samples": 2, "injected": 0}
    for key in counts:
        if (value := getattr(plan, key)) < least.get(key, 1):
            raise ValueError(f"{key} is {value}: expected at least {least.get(key, 1)}")
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds are {plan.seeds}: expected one or more, none of them twice")
    if not plan.times or not all(0 < time < 1 for time in plan.times):
        raise ValueError(f"times are {plan.times}: expected noise levels between 0, which is data, and 1, noise")
    for key in ("pixels_per_degree", "injected_rms", "learning_rate"):
        if not getattr(plan, key) > 0:
            raise ValueError(f"{key} is {getattr(plan, key):g}: expected more than 0")
    if plan.injected_rms > MOST_INJECTED:
        raise ValueError(
            f"injected_rms is {plan.injected_rms:g}: above {MOST_INJECTED:g} images would leave their range"
        )
    if plan.warmup < 0:
        raise ValueError(f"warmup is {plan.warmup}: expected 0 updates or more")
    for key, plain in (("deltas", 0), ("loss_powers", 0), ("exponents", None), ("predictions", plan.prediction)):
        values = getattr(plan, key)
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            raise ValueError(f"{key} are {values}: expected finite numbers")
        if len(set(values)) < len(values) or plain in values:
            besides = "" if plain is None else f", and not {plain}, which the case images is"
            raise ValueError(f"{key} are {values}: expected none of them twice{besides}")
    if not all(plan.sources.values()) or len(plan.sources) < len(plan.autoencoders):
        raise ValueError(f"autoencoders are {plan.autoencoders}: expected NAME=SOURCE each, no name twice")
    for subject in plan.subjects.values():
        plan.path_of(subject)
    if plan.size < 8:
        raise ValueError(f"size is {plan.size}: images of less than 8 pixels have no bands to tell apart")
    patch = plan.denoiser.rpartition("/")[2]
    if patch.isdecimal() and int(patch) and plan.size % int(patch):
        raise ValueError(f"images of {plan.size} pixels are not cut into patches of {patch}: take another --denoiser")
    build_denoiser(plan.denoiser, 3, (plan.size, plan.size), time_scale=1000.0)
    if plan.autoencoders:
        side = plan.size * int(plan.latent_denoiser.rpartition("/")[2] or 0)  # cut into patches, whatever they are
        build_denoiser(plan.latent_denoiser, 4, (side, side), time_scale=1000.0)


def embedded() -> FrequencyPlan:
    """Embedded photographs at 32 × 32, about 10 minutes of one core: shows the method, too small to decide much.

    Expected numbers: docs/study.md.
    """
    return FrequencyPlan()


def cifar10() -> FrequencyPlan:
    """CIFAR-10 at 32 × 32, two seeds of the main cases: about an hour of one core.

    Expected numbers: docs/theory.md.
    """
    plan = FrequencyPlan(
        data="data/cifar10/train.parquet",
        n_train=16_384,
        n_test=96,
        steps=640,
        batch_size=32,
        looks=9,
        samples=128,
        seeds=(0, 1),
        injected=128,
        features="data/cifar10/features.pt",
    )
    return renamed(plan, "cifar10")


def gpu() -> FrequencyPlan:
    """CIFAR-10 with SiT-S at 256 tokens and three seeds, for one GPU; never run yet."""
    plan = replace(
        cifar10(),
        n_train=47_000,
        n_test=1024,
        denoiser="SiT-S/2",
        latent_denoiser="SiT-S/1",
        steps=50_000,
        batch_size=256,
        learning_rate=2e-4,
        warmup=1000,
        precision="bf16",
        looks=14,
        samples=2048,
        sampling_steps=25,
        seeds=(0, 1, 2),
        injected=1024,
    )
    return renamed(plan, "gpu")


def renamed(plan: FrequencyPlan, name: str) -> FrequencyPlan:
    """`plan` under another name, written to a folder of that name."""
    return replace(plan, name=name, out=f"runs/study/frequency-bias/{name}")


PLANS: dict[str, Callable[[], FrequencyPlan]] = {"embedded": embedded, "cifar10": cifar10, "gpu": gpu}
