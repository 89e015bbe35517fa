"""What a diffusion model learns, wherever it lies: cached latents, images encoded on the fly, or pixels."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .data.images import BadFile, ImageSet, open_images
from .data.latents import LatentBatch
from .data.order import image_batches
from .data.seeding import seeded
from .data.training_latents import TrainingLatents, open_training_latents, sample_moments, training_latent_batches
from .diffusion_runs import DiffusionRun
from .latent_scale import measured_space
from .latent_space import LatentSpace
from .nets.autoencoder import Autoencoder
from .provenance import weights_digest


class DiffusionBatch(NamedTuple):
    """data (b, c, h, w) at unit scale, on the device; labels (b,) int64 (-1: none); the bad files met."""

    data: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...]


class Batches(Protocol):
    """This rank's part of each step's batch; the same numbers for the same (rank, world, step).

    Called, it raises ValueError where there are no such batches, and reads nothing yet.
    """

    def __call__(self, rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]: ...


@dataclass(frozen=True)
class LearnedData:
    """shape (c, h, w) of what is learned. classes: their names, none where there are no labels.

    latent_space brings raw latents to unit scale and back. is_pixels: images in [-1, 1] that nothing encodes;
    autoencoder: otherwise the folder or name of what decodes them, "" where it is not known. digest: of the data. n: of
    latents or images.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    latent_space: LatentSpace
    is_pixels: bool
    autoencoder: str
    digest: str
    n: int
    bad: tuple[BadFile, ...]
    batches: Batches


def open_learned(run: DiffusionRun, device: torch.device, begun_at: LatentSpace | None = None) -> LearnedData:
    """What `run.source` names. ValueError, in one line, for whatever does not open or does not fit together.

    begun_at: the scale at which a training that is resumed has begun, so that it is not measured again.
    """
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
    return _encoded(run, images, open_autoencoder(source.autoencoder, device), device, begun_at)


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
    if latents.n_classes > len(latents.classes):
        raise ValueError(
            f"{source.latents} has labels up to {latents.n_classes - 1} and names {len(latents.classes)} classes: "
            f"cache the images again"
        )
    if source.statistics == "declared":
        if not autoencoder:
            raise ValueError(f"{source.latents} names no autoencoder, whose statistics were asked for; name it")
        space = Autoencoder.from_pretrained(autoencoder).latent_space
    else:
        space = latents.space(source.statistics)

    def unit(batch: LatentBatch, rank: int, step: int) -> DiffusionBatch:
        raw = batch.mean
        if source.sample:
            raw = sample_moments(batch.mean, batch.logvar, seeded("latents", run.seed, rank, step))
        data = space.normalise(raw.to(device, non_blocking=True))
        return DiffusionBatch(data, batch.labels.to(device, non_blocking=True), batch.bad)

    def batches(rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]:
        found = training_latent_batches(
            latents, run.batch_size, run.seed, flip=source.flip, rank=rank, world=world, start=start, end=end
        )
        return (unit(batch, rank, step) for step, batch in enumerate(found, start))

    shape = _packed(space, (latents.channels, *latents.grid))
    return LearnedData(
        shape, latents.classes, space, False, autoencoder, latents.digest, len(latents), latents.bad, batches
    )


def _encoded(
    run: DiffusionRun, images: ImageSet, autoencoder: Autoencoder, device: torch.device, begun_at: LatentSpace | None
) -> LearnedData:
    source = run.source
    if source.size % autoencoder.multiple or autoencoder.size not in (None, source.size):
        expected = autoencoder.size or f"a multiple of {autoencoder.multiple}"
        raise ValueError(f"source.size is {source.size}, and {source.autoencoder} takes {expected}")
    if source.statistics == "declared":
        space = autoencoder.latent_space
    else:
        by_channel = source.statistics == "channel"
        space = begun_at or measured_space(
            images, autoencoder, by_channel, device, seed=run.seed, workers=source.workers
        )

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
    digest = hashlib.sha256(f"{images.digest} {weights_digest(autoencoder)}".encode()).hexdigest()[:16]
    return LearnedData(shape, images.classes, space, False, name, digest, len(images), images.bad, batches)


def _pixels(run: DiffusionRun, images: ImageSet, device: torch.device) -> LearnedData:
    def draw(batch: Tensor, rank: int, step: int) -> Tensor:
        return batch

    shape = (3, run.source.size, run.source.size)
    batches = _image_batches(run, images, draw, device)
    return LearnedData(shape, images.classes, LatentSpace(), True, "", images.digest, len(images), images.bad, batches)


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


def _packed(space: LatentSpace, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    c, h, w = space.normalise(torch.zeros(1, *shape)).shape[1:]
    return c, h, w
