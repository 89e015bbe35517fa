"""Data that a diffusion model learns: cached latents, images encoded on the fly, or pixels."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.fingerprint import Contents
from ..data.images import open_images
from ..data.labels import labels_digest
from ..data.order import PositionedBatches, image_batches
from ..data.walk import BadFile
from ..files.digests import digest_lines
from ..latent_space import LatentSpace
from ..latents.alignment_targets import open_training_targets, require_latents
from ..latents.encoded_by import require_encoded_by
from ..latents.gain import Read, cached_samples, with_gain
from ..latents.gain_choice import GainChoice
from ..latents.latent_set import Key, LatentInfo, LatentSet, sample_moments, training_keys
from ..latents.open_latents import open_latents
from ..latents.statistics import encode_spread, measure_latent_space, samples_of, spread_images
from ..nets.autoencoder import open_autoencoder
from ..nets.vision.encoders import canonical, open_vision
from ..sampling.model import Decoder
from ..seeding import seeded
from .data_fingerprint import DataFingerprint
from .diffusion_config import DiffusionRun


class DiffusionBatch(NamedTuple):
    """data (b, c, h, w) at unit scale and labels (b,) int64 (-1: none), on the device; bad files met while reading.

    targets (b, d, h', w'): of representation alignment, on the device; None without it.
    """

    data: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...]
    targets: Tensor | None = None


Batches = Callable[[int, int, int, int], Iterator[DiffusionBatch]]
"""Takes (rank, world, start, end) and returns the rank's part of each step's batch, always the same.

It raises ValueError at once where there are no such batches, and reads nothing before the first is taken.
"""


@dataclass(frozen=True)
class LearnedData:
    """Opened data of `n` latents or images.

    info: what is known of them, before normalisation; images that nothing encodes (`is_pixels`) have 3 channels.
    labels (n,): of all of them, -1 for none. labels_digest: of those that are learned, with the names of their classes,
    "" without any. latent_space: normalises them to unit scale, with the `gain` that was chosen. contents: the data,
    and what they are aligned with, by what they are. networks: digests of the networks that encode, by what these are.
    target_shape (d, h', w'): of alignment targets, None without alignment. decoder: the autoencoder that encodes
    images on the fly; of cached latents that which the run names, or which declares their scale; else None.
    """

    info: LatentInfo
    latent_space: LatentSpace
    contents: Mapping[str, Contents]
    n: int
    labels: Tensor
    batches: Batches
    is_pixels: bool = False
    target_shape: tuple[int, int, int] | None = None
    decoder: Decoder | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    labels_digest: str = ""
    gain: GainChoice = field(default_factory=GainChoice)

    @property
    def digest(self) -> str:
        """Digest of the data, and of what they are encoded by and aligned with."""
        digests = [*(contents.digest for contents in self.contents.values()), *self.networks.values()]
        return digests[0] if len(digests) == 1 else digest_lines(digests)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """How many of them are of each class."""
        return tuple((self.labels + 1).bincount(minlength=len(self.info.classes) + 1)[1:].tolist())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one item, normalised."""
        c, h, w = self.latent_space.to_unit(torch.zeros(1, self.info.channels, *self.info.grid)).shape[1:]
        return c, h, w


def open_learned(run: DiffusionRun, device: torch.device, started_on: DataFingerprint | None = None) -> LearnedData:
    """Open what `run.source` names.

    started_on: what a training that is resumed was started on, whose scale is not measured again.

    Raises:
        ValueError: in one line, for what does not open or does not fit together.
    """
    source = run.source
    if (source.latents is None) == (source.images is None):
        both = "source.latents and source.images are both given: leave one out"
        neither = "give source.latents, a folder that `specmatch cache` wrote, or else source.images"
        raise ValueError(both if source.latents is not None else neither)
    if source.latents is not None:
        return _open_cached(run, open_latents(source.latents), device, started_on)
    return _open_images(run, str(source.images), device, started_on)


def _open_cached(
    run: DiffusionRun, latents: LatentSet, device: torch.device, started_on: DataFingerprint | None
) -> LearnedData:
    source, info = run.source, latents.info
    require_latents(latents)
    decoder, info = _open_own(run, info)
    if latents.n_classes > len(latents.classes):
        raise ValueError(
            f"{source.latents} has labels up to {latents.n_classes - 1} and names {len(latents.classes)} classes: "
            f"cache the images again"
        )
    if source.statistics != "declared":
        space = latents.space(source.statistics)
    elif decoder is not None:
        space = decoder.autoencoder.latent_space
    else:
        raise ValueError(f"{source.latents} names no autoencoder to declare statistics: set source.autoencoder")
    gain = source.gain if source.is_given else info.gain
    space = _gained(gain, space, started_on, lambda: cached_samples(latents))

    targets, choice = None, run.alignment
    if choice.weight:
        targets = open_training_targets(choice.targets, latents, source.flip)
        if choice.encoder is not None and canonical(choice.encoder) != targets.encoder:
            raise ValueError(
                f"the cached targets are of {targets.encoder}, and alignment.encoder is {choice.encoder}: set it to "
                f"the former, or name the folder of the latter's targets by alignment.targets"
            )
        if choice.size is not None:
            raise ValueError("alignment.size has no effect on cached targets: cache them by --encoder-size")

    def read(keys: list[Key], rank: int, step: int) -> DiffusionBatch:
        batch = latents.read_batch(keys)
        data = space.to_unit(_sample(run, batch.mean, batch.logvar, rank, step).to(device, non_blocking=True))
        aligned = None if targets is None else targets.read(keys).to(device, non_blocking=True)
        return DiffusionBatch(data, batch.labels.to(device, non_blocking=True), batch.bad, aligned)

    def batches(rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]:
        order = PositionedBatches(len(latents), run.batch_size, run.seed, rank, world, start, end)
        keys = training_keys(latents, order, source.flip)
        return (read(step_keys, rank, step) for step, step_keys in enumerate(keys, start))

    return LearnedData(
        info=replace(info, classes=latents.classes),
        latent_space=space,
        contents={"latents": latents.files} | ({} if targets is None else {"alignment targets": targets.files}),
        n=len(latents),
        labels=latents.labels,
        batches=batches,
        labels_digest=labels_digest(latents.classes, latents.labels.tolist()) if run.denoiser.labels else "",
        target_shape=None if targets is None else (targets.width, *targets.grid),
        decoder=decoder,
        gain=gain,
    )


def _open_own(run: DiffusionRun, info: LatentInfo) -> tuple[Decoder | None, LatentInfo]:
    """Open the autoencoder of cached latents on the CPU, if a run names one or needs its scale; complete the info."""
    source, name = run.source, run.source.autoencoder or info.autoencoder
    if not source.autoencoder and not (name and source.statistics == "declared"):
        return None, info
    opened = open_autoencoder(name, torch.device("cpu"))  # only previews need it on a GPU
    if opened.channels != info.channels:
        raise ValueError(
            f"{source.latents} holds latents of {info.channels} channels and {name} decodes {opened.channels}: they do "
            f"not belong together"
        )
    known, digest = info.autoencoder_digest, opened.digest
    require_encoded_by(
        f"{source.latents} holds latents",
        known,
        name,
        digest,
        "restore it, or cache the images again",
        encoder=info.autoencoder,
        is_chosen=source.autoencoder is not None,
    )
    return Decoder(name, opened, digest), replace(info, autoencoder=name, autoencoder_digest=known or digest)


def _open_images(run: DiffusionRun, name: str, device: torch.device, started_on: DataFingerprint | None) -> LearnedData:
    """Open images that are encoded on the fly, or that are learned themselves where no autoencoder is named."""
    source = run.source
    images = open_images(
        name,
        source.size,
        split="train",
        held_out=source.held_out,
        seed=run.seed,
        crop=source.crop,
        flip=source.flip,
        on_bad=source.on_bad,
        labels=run.denoiser.labels,
    )
    channels, side, space = 3, source.size, LatentSpace()
    read: Read = partial(spread_images, images, seed=run.seed, workers=source.workers)
    networks: dict[str, str] = {}
    autoencoder = encoder = decoder = target_shape = None
    if run.alignment.weight:
        if run.alignment.encoder is None:
            raise ValueError("alignment.encoder is required when alignment.weight > 0")
        if run.alignment.targets is not None:
            raise ValueError("alignment.targets is of cached latents, and source.images is encoded at each step")
        encoder = open_vision(run.alignment.encoder, device, run.alignment.size)
        target_shape = (encoder.width, *encoder.grid(source.size))
        networks["vision encoder"] = encoder.digest
    if source.autoencoder is not None:
        autoencoder = open_autoencoder(source.autoencoder, device)
        if source.size % autoencoder.multiple or autoencoder.size not in (None, source.size):
            expected = autoencoder.size or f"a multiple of {autoencoder.multiple}"
            raise ValueError(f"source.size is {source.size}, and {source.autoencoder} takes {expected}")
        if source.statistics == "declared":
            space = autoencoder.latent_space
        else:
            space = (started_on and started_on.latent_space) or measure_latent_space(
                autoencoder, images, device, by=source.statistics, seed=run.seed, workers=source.workers
            )
        channels, side = autoencoder.channels, source.size // autoencoder.factor
        encode = partial(encode_spread, autoencoder, images, device, seed=run.seed, workers=source.workers)
        read = lambda: samples_of(encode())  # noqa: E731
        decoder = Decoder(source.autoencoder, autoencoder, autoencoder.digest)
        networks["autoencoder"] = decoder.digest
    space = _gained(source.gain, space, started_on, read)

    def batches(rank: int, world: int, start: int, end: int) -> Iterator[DiffusionBatch]:
        order = PositionedBatches(len(images), run.batch_size, run.seed, rank, world, start, end, groups=images.groups)
        for step, batch in enumerate(image_batches(images, order, source.workers), start):
            pixels = batch.images.to(device, non_blocking=True)
            if autoencoder is None:
                data = space.to_unit(pixels)
            else:
                with torch.no_grad():  # in float32 as for a cache, whose scale this is
                    posterior = autoencoder.encode(pixels)
                data = space.to_unit(_sample(run, posterior.mean, posterior.logvar, rank, step).float())
            targets = None if encoder is None else encoder(pixels).field
            yield DiffusionBatch(data, batch.labels.to(device, non_blocking=True), batch.bad, targets)

    info = LatentInfo(channels=channels, grid=(side, side), classes=images.classes, bad=images.bad)
    if decoder is not None:
        info = replace(info, autoencoder=decoder.name, autoencoder_digest=decoder.digest)
    labels = images.labels
    return LearnedData(
        info=info,
        latent_space=space,
        contents={"training images": images},
        networks=networks,
        n=len(images),
        labels=torch.tensor(labels),
        batches=batches,
        labels_digest=labels_digest(images.classes, labels),
        is_pixels=autoencoder is None,
        target_shape=target_shape,
        decoder=decoder,
        gain=source.gain,
    )


def _gained(choice: GainChoice, space: LatentSpace, started_on: DataFingerprint | None, read: Read) -> LatentSpace:
    """Return the space with a gain: that of the same choice with which a resumed training was started, or measured."""
    before = started_on.latent_space if started_on and started_on.gain == choice else None
    if choice.is_given and before is not None:
        plain = replace(before.without_gain, mean=space.mean)  # which a gain by channel may have centred
        if plain == space.without_gain:
            return before
    return with_gain(space, choice, read)


def _sample(run: DiffusionRun, mean: Tensor, logvar: Tensor | None, rank: int, step: int) -> Tensor:
    """Return samples of the posteriors of a step, or their means, as the run says."""
    return sample_moments(mean, logvar, seeded("latents", run.seed, rank, step)) if run.source.sample else mean
