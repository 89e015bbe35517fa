"""Images from a diffusion model, in memory: image i does not depend on batch size or number of processes.

Only the rounding of the network's kernels depends on the batch size, so that a byte may differ by one.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from ..diffusion import (
    SAMPLERS,
    Predict,
    SampleNoise,
    by_steps,
    evaluation_times,
    guided,
    guided_evaluations,
    is_guided,
    time_grid,
)
from ..diffusion import Path as DiffusionPath
from ..files.digests import digest_json
from ..files.settings import Fraction, NonNegative, NotHashed, validate
from ..latent_space import LatentSpace
from ..nets.precision import HALF, Precision, autocast
from ..records.scores import Sampling
from ..seeding import seeded
from .model import Card, DiffusionModel

if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[tuple(SAMPLERS)]


@dataclass(frozen=True)
class SamplingChoice:
    """Settings by which images are sampled."""

    # ODE: euler, heun, dpm_solver, dpm_solver_3; SDE: euler_maruyama, euler_maruyama_mean
    sampler: SamplerName = "euler"
    steps: PositiveInt = 50  # of the sampler; heun calls the network twice in each
    last_step: Fraction = 0.0  # size of the last step in t, after equal others: 0.04 in SiT and REPA; 0: all equal
    end: Fraction = 0.0  # t at which sampling ends: 0.001 in U-ViT, whose samples keep that noise
    shift: Annotated[float, Field(gt=0)] = 1.0  # of the steps: above 1 for more where there is more noise
    guidance: NonNegative = 1.0  # scale of classifier-free guidance; 1: none
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # t in which guidance acts; 0: data, 1: noise
    guidance_channels: NonNegativeInt = 0  # the first ones that are guided: 3 in SiT and LightningDiT; 0: all
    guidance_by: Literal["evaluation", "step"] = "evaluation"  # whose time the interval tells: REPA's Heun, the step's
    labels: str = "balanced"  # balanced (learned classes in turn), random, none, or a class by number
    seed: int = 0  # image i depends on the seed and on i alone
    batch_size: NotHashed[PositiveInt] = 64  # in a process; rounding depends on it: a byte may differ by one
    precision: Precision = "fp32"  # of the network; the sampler is in float32


SIT = SamplingChoice("euler_maruyama_mean", 250, last_step=0.04)
# LightningDiT counts t from noise to data: its interval from 0.1 and shift of 0.3 are these; 250 times are 249 steps.
LIGHTNING = SamplingChoice("euler", 249, shift=1 / 0.3, guidance_channels=3)
PROTOCOLS = {
    "sit": SIT,
    "sit_guided": replace(SIT, guidance=1.5, guidance_channels=3),
    "repa": SIT,
    "repa_guided": replace(SIT, guidance=1.8, guidance_interval=(0.0, 0.7)),
    "lightningdit_64": replace(LIGHTNING, guidance=10.0, guidance_interval=(0.0, 0.9)),
    "lightningdit_800": replace(LIGHTNING, guidance=6.7, guidance_interval=(0.0, 0.875)),
    "uvit_celeba": SamplingChoice("dpm_solver", 50, labels="none"),
    "uvit_imagenet": SamplingChoice("dpm_solver_3", 50, end=0.001, guidance=1.4),
}
"""How published numbers were sampled, but for labels, which the codes draw at random; docs/diffusion.md says which."""


def check_sampling(model: DiffusionModel, choice: SamplingChoice) -> None:
    """Check that a model can be sampled this way; see `check_choice`."""
    card = model.card
    check_choice(choice, model.source, card.path, card.classes, card.learned_classes, card.learned_none)


def check_choice(
    choice: SamplingChoice,
    source: str,
    path: DiffusionPath,
    classes: Sequence[str],
    learned: Collection[int],
    learned_none: bool,
) -> None:
    """Check that a model can be sampled this way, which may not be trained yet.

    source: names it. path: which it learns. classes: their names. learned: the numbers of those that it learns images
    of. learned_none: whether it learns images without their class.

    Raises:
        ValueError: for numbers out of range, and for guidance, a class or no class where the model does not learn it.
    """
    validate(choice)
    low, high = choice.guidance_interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"the guidance interval is {low} to {high}, expected 0 <= low <= high <= 1")
    if choice.guidance != 1 and not learned:
        raise ValueError(f"guidance is {choice.guidance}, but {source} is unconditional: leave it at 1")
    if choice.guidance != 1 and choice.labels == "none":
        raise ValueError(f"guidance is {choice.guidance} and labels is none: guidance needs labels")
    if not learned_none and (choice.guidance != 1 or choice.labels == "none"):
        asked = "labels is none" if choice.labels == "none" else f"guidance is {choice.guidance}"
        why = f"{source} learned no image without its class"
        raise ValueError(f"{asked}, but {why}: train with objective.label_dropout above 0 for that")
    if choice.guidance_by == "step" and choice.sampler not in ("euler", "heun"):
        raise ValueError(f"guidance_by is step, which {choice.sampler} does not have: use heun or euler")
    _times(path, choice)
    _check_labels(choice, source, classes, learned)


def _check_labels(choice: SamplingChoice, source: str, classes: Sequence[str], learned: Collection[int]) -> None:
    """Check that labels are a word, or the number of a class that was learned."""
    if choice.labels in ("balanced", "random", "none"):
        return
    if not choice.labels.isdecimal() or int(choice.labels) >= len(classes):
        known = f", or a class from 0 to {len(classes) - 1}" if classes else ": the model knows no classes"
        raise ValueError(f"labels is {choice.labels!r}, expected balanced, random or none{known}")
    if (label := int(choice.labels)) not in learned:
        why = f"{source} learned no image of class {classes[label]!r}"
        raise ValueError(f"labels is {choice.labels!r}, and {why}: take balanced, random or another class")


def times_of(model: DiffusionModel, choice: SamplingChoice) -> Tensor:
    """Return the times that a choice samples a model at, (steps + 1,); ValueError for steps that make no grid."""
    return _times(model.card.path, choice)


def _times(path: DiffusionPath, choice: SamplingChoice) -> Tensor:
    return time_grid(path, choice.steps, choice.shift, choice.last_step, choice.end)


@torch.no_grad()
def generate_batch(
    model: DiffusionModel, choice: SamplingChoice, indices: Sequence[int], device: torch.device
) -> Tensor:
    """Return the images (b, 3, H, W) in [-1, 1] of these indices."""
    card = model.card
    noise = SampleNoise(choice.seed, tuple(indices))
    labels = labels_of(choice, indices, card).to(device)
    given, channels = labels if card.classes else None, choice.guidance_channels or None
    bound = partial(guided, model.denoiser, given, channels=channels)
    path, shape, interval = card.path, card.shape, choice.guidance_interval
    start, times = noise.start(shape).to(device), times_of(model, choice)

    def at_step(t: float) -> Predict:
        return bound(choice.guidance if is_guided(t, interval) else 1.0)

    with autocast(choice.precision, device):
        sampler = SAMPLERS[choice.sampler]
        if choice.guidance_by == "step":
            units = by_steps(sampler, at_step, path, start, times)
        else:
            predict = bound(choice.guidance, interval)
            units = sampler(predict, path, start, times, lambda step: noise.at(step, shape).to(device))
    return model.decode(units.float())


def labels_of(choice: SamplingChoice, indices: Sequence[int], card: Card) -> Tensor:
    """Return the class of each image (n,) int64, -1 for none.

    "balanced" gives the k classes that were learned in turn, so that n · k images have n of each, and "random" draws
    from them. Without any, both mean "none".

    Raises:
        ValueError: for a class that the model does not have, or learned no image of.
    """
    learned = card.learned_classes
    _check_labels(choice, card.run, card.classes, learned)
    if choice.labels.isdecimal():
        labels = [int(choice.labels)] * len(indices)
    elif choice.labels == "none" or not learned:
        labels = [-1] * len(indices)
    elif choice.labels == "balanced":
        labels = [learned[index % len(learned)] for index in indices]
    else:
        drawn = [torch.randint(len(learned), (), generator=seeded("label", choice.seed, i)) for i in indices]
        labels = [learned[int(place)] for place in drawn]
    return torch.tensor(labels, dtype=torch.int64)


def sampling_record(model: DiffusionModel, choice: SamplingChoice, n_images: int) -> Sampling:
    """Return the record of how these images are sampled."""
    times = evaluation_times(choice.sampler, times_of(model, choice), choice.guidance_by == "step")
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
        last_step=choice.last_step,
        end=choice.end,
        shift=choice.shift,
        evaluations=guided_evaluations(times, choice.guidance, choice.guidance_interval),
        guidance=choice.guidance,
        guidance_interval=choice.guidance_interval,
        guidance_channels=choice.guidance_channels,
        guidance_by=choice.guidance_by,
        labels=choice.labels if model.card.learned_classes else "none",
        n_images=n_images,
        seed=choice.seed,
        dtype=str(HALF.get(choice.precision, torch.float32)).removeprefix("torch."),
        tile=model.decoder.autoencoder.tile if model.decoder else None,
        normalisation=model.card.latent_space.convention,
        gain=_gain_digest(model.card.latent_space),
    )


def _gain_digest(space: LatentSpace) -> str:
    """Return the digest of the gain, with the rotation before it; "" without."""
    gain = {"rotation": space.rotation, "gain": space.gain and asdict(space.gain)}
    return digest_json(gain) if any(gain.values()) else ""


def relative_to_cwd(name: str) -> str:
    """Return a path below the working directory relative to it, so that records hold no paths of a machine."""
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else name
