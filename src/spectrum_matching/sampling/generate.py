"""Images from a diffusion model, in memory: image i does not depend on batch size or number of processes.

Only the rounding of the network's kernels depends on the batch size, so that a byte may differ by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from ..diffusion import SAMPLERS, SampleNoise, evaluation_times, guided, guided_evaluations, time_grid
from ..files.settings import NonNegative, NotHashed, validate
from ..records.scores import Sampling
from ..seeding import seeded
from .model import DiffusionModel

if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]


@dataclass(frozen=True)
class SamplingChoice:
    """Settings by which images are sampled."""

    sampler: SamplerName = "euler"  # ODE: euler, heun, dpm_solver; SDE: euler_maruyama
    steps: PositiveInt = 50  # of the sampler; heun calls the network twice in each
    guidance: NonNegative = 1.0  # scale of classifier-free guidance; 1: none
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # t in which guidance acts; 0: data, 1: noise
    labels: str = "balanced"  # balanced (classes in turn), random, none, or a class by number
    seed: int = 0  # image i depends on the seed and on i alone
    batch_size: NotHashed[PositiveInt] = 64  # in a process; rounding depends on it: a byte may differ by one
    precision: Literal["fp32", "bf16"] = "fp32"  # of the network; the sampler is in float32


def check_sampling(model: DiffusionModel, choice: SamplingChoice) -> None:
    """Check that a model can be sampled this way.

    Raises:
        ValueError: for numbers out of range, and for guidance or a class that the model does not have.
    """
    validate(choice)
    low, high = choice.guidance_interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"the guidance interval is {low} to {high}, expected 0 <= low <= high <= 1")
    if choice.guidance != 1 and not model.n_classes:
        raise ValueError(f"guidance is {choice.guidance}, but {model.source} is unconditional: leave it at 1")
    if choice.guidance != 1 and choice.labels == "none":
        raise ValueError(f"guidance is {choice.guidance} and labels is none: guidance needs labels")
    labels_of(choice, (), model.n_classes)


@torch.no_grad()
def generate_batch(
    model: DiffusionModel, choice: SamplingChoice, indices: Sequence[int], device: torch.device
) -> Tensor:
    """Return the images (b, 3, H, W) in [-1, 1] of these indices."""
    path = model.card.path
    noise = SampleNoise(choice.seed, tuple(indices))
    labels = labels_of(choice, indices, model.n_classes).to(device)
    predict = guided(model.denoiser, labels if model.n_classes else None, choice.guidance, choice.guidance_interval)
    shape = model.card.shape
    with torch.autocast(device.type, torch.bfloat16, enabled=choice.precision == "bf16"):
        units = SAMPLERS[choice.sampler](
            predict,
            path,
            noise.start(shape).to(device),
            time_grid(path, choice.steps),
            lambda step: noise.at(step, shape).to(device),
        )
    return model.decode(units.float())


def labels_of(choice: SamplingChoice, indices: Sequence[int], n_classes: int) -> Tensor:
    """Return the class of each image (n,) int64, -1 for none.

    "balanced" gives the classes in turn, so that n · n_classes images have n of each. Without classes "balanced" and
    "random" mean "none".

    Raises:
        ValueError: for a class that the model does not have.
    """
    if choice.labels not in ("balanced", "random", "none"):
        if not choice.labels.isdecimal() or int(choice.labels) >= n_classes:
            known = f", or a class from 0 to {n_classes - 1}" if n_classes else ": the model knows no classes"
            raise ValueError(f"labels is {choice.labels!r}, expected balanced, random or none{known}")
        labels = [int(choice.labels)] * len(indices)
    elif choice.labels == "none" or not n_classes:
        labels = [-1] * len(indices)
    elif choice.labels == "balanced":
        labels = [index % n_classes for index in indices]
    else:
        labels = [int(torch.randint(n_classes, (), generator=seeded("label", choice.seed, i))) for i in indices]
    return torch.tensor(labels, dtype=torch.int64)


def sampling_record(model: DiffusionModel, choice: SamplingChoice, n_images: int) -> Sampling:
    """Return the record of how these images are sampled."""
    times = evaluation_times(choice.sampler, time_grid(model.card.path, choice.steps))
    return Sampling(
        denoiser=relative_to_cwd(model.source),
        denoiser_digest=model.denoiser_digest,
        step=model.card.step,
        averaged=model.card.averaged,
        autoencoder=relative_to_cwd(model.decoder.name) if model.decoder else "",
        autoencoder_digest=model.decoder.digest if model.decoder else "",
        path=model.card.path.kind,
        prediction=model.card.path.prediction,
        sampler=choice.sampler,
        steps=choice.steps,
        evaluations=guided_evaluations(times, choice.guidance, choice.guidance_interval),
        guidance=choice.guidance,
        guidance_interval=choice.guidance_interval,
        labels=choice.labels if model.n_classes else "none",
        n_images=n_images,
        seed=choice.seed,
        dtype="bfloat16" if choice.precision == "bf16" else "float32",
    )


def relative_to_cwd(name: str) -> str:
    """Return a path below the working directory relative to it, so that records hold no paths of a machine."""
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else name
