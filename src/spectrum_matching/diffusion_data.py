"""What a diffusion model learns, wherever it lies: cached latents, images encoded on the fly, or pixels."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from pydantic import TypeAdapter
from torch import Tensor

from .checkpoints import write_text_aside
from .data.images import BadFile, ImageSet, open_images
from .data.order import fixed_batches, image_batches
from .data.seeding import seeded
from .data.training_latents import TrainingLatents, open_training_latents, sample_moments, training_latent_batches
from .diffusion_runs import DiffusionRun
from .latent_space import Convention, LatentSpace
from .nets.autoencoder import Autoencoder

N_MEASURED, N_AT_ONCE = 512, 16


class DiffusionBatch(NamedTuple):
    """data (b, c, h, w) at unit scale, on the device; labels (b,) int64 (-1: none); the bad files met."""

    data: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...]


class Batches(Protocol):
    """This rank's part of each step's batch; the same numbers for the same (rank, world, step)."""

    def __call__(self, rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]: ...


@dataclass(frozen=True)
class LearnedData:
    """shape (c, h, w) of what is learned. classes: their names, none where there are no labels.

    latent_space brings raw latents to unit scale and back; autoencoder: the folder or name of what decodes them, ""
    for pixels and where it is not known. digest: of the data. n: of latents or images.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    latent_space: LatentSpace
    autoencoder: str
    digest: str
    n: int
    bad: tuple[BadFile, ...]
    batches: Batches


def open_learned(run: DiffusionRun, device: torch.device) -> LearnedData:
    """What `run.source` names. ValueError, in one line, for whatever does not open or does not fit together."""
    source = run.source
    if (source.latents is None) == (source.images is None):
        raise ValueError("give source.latents, a folder that `specmatch cache` wrote, or else source.images")
    if source.latents is not None:
        return _cached(run, open_training_latents(source.latents), device)
    images = open_images(
        str(source.images),
        source.size,
        split="train",
        held_out=source.held_out,
        seed=run.seed,
        crop=source.crop,
        flip=source.flip,
        on_bad=source.on_bad,
    )
    if source.autoencoder is None:
        return _pixels(run, images, device)
    return _encoded(run, images, open_autoencoder(source.autoencoder, device), device)


def open_autoencoder(source: str, device: torch.device) -> Autoencoder:
    """On the device, frozen, in eval mode."""
    return Autoencoder.from_pretrained(source).to(device).eval().requires_grad_(False)


def _cached(run: DiffusionRun, latents: TrainingLatents, device: torch.device) -> LearnedData:
    source = run.source
    autoencoder = source.autoencoder or latents.autoencoder
    if source.autoencoder is not None and (channels := Autoencoder.from_pretrained(autoencoder).channels) != (
        latents.channels
    ):
        raise ValueError(
            f"{source.latents} holds latents of {latents.channels} channels and {autoencoder} decodes {channels}: "
            f"they do not belong together"
        )
    if source.statistics == "declared":
        if not autoencoder:
            raise ValueError(f"{source.latents} names no autoencoder, whose statistics were asked for; name it")
        space = Autoencoder.from_pretrained(autoencoder).latent_space
    else:
        space = latents.space(source.statistics)

    def batches(rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]:
        found = training_latent_batches(
            latents, run.batch_size, run.seed, flip=source.flip, rank=rank, world=world, start=start, end=end
        )
        for step, batch in enumerate(found, start):
            raw = batch.mean
            if source.sample:
                raw = sample_moments(batch.mean, batch.logvar, seeded("latents", run.seed, rank, step))
            data = space.normalise(raw.to(device, non_blocking=True))
            yield DiffusionBatch(data, batch.labels.to(device, non_blocking=True), batch.bad)

    shape = _packed(space, (latents.channels, *latents.grid))
    return LearnedData(shape, latents.classes, space, autoencoder, latents.digest, len(latents), latents.bad, batches)


def _encoded(run: DiffusionRun, images: ImageSet, autoencoder: Autoencoder, device: torch.device) -> LearnedData:
    source = run.source
    if source.size % autoencoder.multiple:
        raise ValueError(
            f"source.size is {source.size}, expected a multiple of the autoencoder's {autoencoder.multiple}"
        )
    kept = Path(run.out) / "latent_space.json"
    if source.statistics == "declared":
        space = autoencoder.latent_space
    elif kept.exists():  # a resumed training must go on at the same scale
        space = TypeAdapter(LatentSpace).validate_json(kept.read_text())
    else:
        space = _measured(images, autoencoder, source.statistics == "channel", device)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text_aside(kept, json.dumps(asdict(space)) + "\n")

    def draw(batch: Tensor, rank: int, step: int) -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"):
            posterior = autoencoder.encode(batch)
        raw = posterior.mean
        if source.sample:
            raw = sample_moments(posterior.mean, posterior.logvar, seeded("latents", run.seed, rank, step))
        return space.normalise(raw.float())

    side = source.size // autoencoder.factor
    shape = _packed(space, (autoencoder.channels, side, side))
    batches = _image_batches(run, images, draw, device)
    name = str(source.autoencoder)
    return LearnedData(shape, images.classes, space, name, images.digest, len(images), images.bad, batches)


def _pixels(run: DiffusionRun, images: ImageSet, device: torch.device) -> LearnedData:
    def draw(batch: Tensor, rank: int, step: int) -> Tensor:
        return batch

    shape = (3, run.source.size, run.source.size)
    batches = _image_batches(run, images, draw, device)
    return LearnedData(shape, images.classes, LatentSpace(), "", images.digest, len(images), images.bad, batches)


def _image_batches(
    run: DiffusionRun, images: ImageSet, draw: Callable[[Tensor, int, int], Tensor], device: torch.device
) -> Batches:
    def batches(rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]:
        found = image_batches(
            images,
            run.batch_size,
            run.seed,
            rank=rank,
            world=world,
            start=start,
            end=end,
            workers=run.source.workers,
        )
        for step, batch in enumerate(found, start):
            pixels = batch.images.to(device, non_blocking=True)
            yield DiffusionBatch(draw(pixels, rank, step), batch.labels.to(device, non_blocking=True), batch.bad)

    return batches


@torch.no_grad()
def _measured(images: ImageSet, autoencoder: Autoencoder, by_channel: bool, device: torch.device) -> LatentSpace:
    """Mean and std of posterior samples of the first images: the variance of means plus the mean of variances."""
    means, variances = [], []
    for batch in fixed_batches(images, N_AT_ONCE, N_MEASURED):
        posterior = autoencoder.encode(batch.images.to(device))
        means.append(posterior.mean.double().cpu())
        variances.append(posterior.var.double().cpu())
    mean, variance = torch.cat(means), torch.cat(variances)
    axes = (0, 2, 3) if by_channel else (0, 1, 2, 3)
    std = (mean.var(axes, correction=0) + variance.mean(axes)).sqrt().reshape(-1)
    if not (std > 0).all() or not std.isfinite().all():
        raise ValueError("latents of these images do not vary, or are not finite: they cannot be brought to unit scale")
    convention: Convention = "per channel" if by_channel else "shift and scale"
    return LatentSpace(convention, tuple(mean.mean(axes).reshape(-1).tolist()), tuple(std.tolist()))


def _packed(space: LatentSpace, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    c, h, w = space.normalise(torch.zeros(1, *shape)).shape[1:]
    return c, h, w
