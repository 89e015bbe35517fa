"""Latents for a cache: encoded from images, or imported from the cache of another tool."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.fingerprint import changes, warn_if_rewritten
from ..data.images import ImageSet
from ..data.labels import labels_digest
from ..data.order import batches_at
from ..data.walk import BadFile
from ..nets.autoencoder import Autoencoder, check_size, eval_mode
from ..nets.vision.encoders import VisionEncoder, canonical
from .alignment_targets import VISION, require_latents
from .latent_set import BadLatentError, Holds, LatentInfo, LatentSet
from .write_cache import SHARD_IMAGES, CacheJob, JobBatch, Storage, bytes_of_one

TARGET_SHARD = 1 << 28  # bytes


class Encoder(NamedTuple):
    """An encoder from images of one size to latents or alignment targets.

    info: what it decides of the latents. digest: by which it is known again. encode: images (b, 3, H, W) → `mean`
    (b, channels, *grid), perhaps `logvar`. running: a context in which shard number n is encoded, which yields the
    device of the images.
    """

    info: LatentInfo
    digest: str
    encode: Callable[[Tensor], Mapping[str, Tensor]]
    running: Callable[[int], AbstractContextManager[torch.device]]


def autoencoder_encoder(name: str, autoencoder: Autoencoder, size: int, device: torch.device) -> Encoder:
    """Encode images to moments of their posteriors.

    Raises:
        ValueError: when the autoencoder cannot take images of this size.
    """
    check_size(name, autoencoder, size)
    name = str(Path(name).resolve()) if Path(name).exists() else name
    side = size // autoencoder.factor

    def encode(images: Tensor) -> Mapping[str, Tensor]:
        posterior = autoencoder.encode(images)
        if not autoencoder.is_stochastic:
            return {"mean": posterior.mean}
        return {"mean": posterior.mean, "logvar": posterior.logvar}

    holds: Holds = "posterior" if autoencoder.is_stochastic else "mean"
    digest = autoencoder.digest
    return Encoder(
        LatentInfo(
            holds=holds,
            channels=autoencoder.channels,
            grid=(side, side),
            autoencoder=name,
            autoencoder_digest=digest,
            tile=autoencoder.tile,
        ),
        digest,
        encode,
        # An encoder that samples then samples the same for a shard, whichever process makes it and when.
        running=lambda number: eval_mode(autoencoder, device, seed=number),
    )


def vision_encoder(name: str, encoder: VisionEncoder, size: int, device: torch.device) -> Encoder:
    """Encode images to alignment targets: the tokens of a vision encoder, as fields.

    Raises:
        ValueError: when the encoder cannot take images of this size.
    """
    return Encoder(
        LatentInfo(
            holds="mean", channels=encoder.width, grid=encoder.grid(size), autoencoder=f"{VISION}{canonical(name)}"
        ),
        encoder.digest,
        encode=lambda images: {"mean": encoder(images).field},
        running=lambda number: nullcontext(device),
    )


def encode_images(encoder: Encoder, images: ImageSet, storage: Storage, *, batch_size: int, workers: int) -> CacheJob:
    """Return the job of caching the latents of images."""
    info = replace(
        encoder.info,
        flips=storage.flips,
        classes=images.classes,
        images=images.choice,
        fingerprint=images.fingerprint,
        n_images=(len(images), len(images)),
        bad=images.bad,
    )
    if storage.shard_images is None and info.autoencoder.startswith(VISION):
        # Shards are made in memory, and targets may be a hundred times as large as latents.
        n = TARGET_SHARD // bytes_of_one(info, storage.dtype)
        storage = replace(storage, shard_images=max(1, min(SHARD_IMAGES, n)))

    def batches(number: int, items: range) -> Iterator[JobBatch]:
        with encoder.running(number) as device:
            for batch in batches_at(images, batch_size, items, workers=workers):
                moments: dict[str, Tensor] = {}
                if batch.indices:
                    x = batch.images.to(device)
                    moments |= encoder.encode(x)
                    if storage.flips:
                        moments |= {f"{name}_flip": values for name, values in encoder.encode(x.flip(-1)).items()}
                yield JobBatch(
                    moments, batch.indices, [images.names[i] for i in batch.indices], batch.labels, batch.bad
                )

    index = storage.index(info, encoder.digest, labels_digest(images.classes, images.labels))
    return CacheJob(index, len(images), batches, images.names)


def import_cache(latents: LatentSet, storage: Storage, *, labels: bool = True) -> CacheJob:
    """Return the job of copying moments from another cache, and labels where they are asked for and it holds any.

    Raises:
        ValueError: when mirrored images are wanted and it does not hold them.
    """
    info = latents.info
    if storage.flips and not info.flips:
        raise ValueError(f"{latents.source} holds no latents of mirrored images: import it without --flips")
    indices = [key for key in latents.image_keys if isinstance(key, int)]
    if len(set(indices)) < len(latents):
        indices = list(range(len(latents)))
    n = max(info.n_images[1], len(latents))
    # Only the order of another tool's images is known.
    images = info.images if info.fingerprint else None
    digest = labels_digest(info.classes, latents.labels.tolist()) if labels else ""
    info = replace(
        info,
        classes=info.classes if digest else (),
        flips=storage.flips,
        images=images,
        n_images=(n, n),
        latent_space=None,
        global_space=None,
    )

    def batches(number: int, items: range) -> Iterator[JobBatch]:
        for item in items:
            moments: dict[str, Tensor] = {}
            name, label = latents.name(item), latents.labels[item : item + 1]
            try:
                for side in ("", "_flip") if storage.flips else ("",):
                    row = latents.read(item, bool(side))
                    moments[f"mean{side}"] = row.mean[None]
                    if row.logvar is not None:
                        moments[f"logvar{side}"] = row.logvar[None]
            except BadLatentError as error:
                yield JobBatch({}, (), (), label[:0], (BadFile(name, str(error)),))
            else:
                yield JobBatch(moments, [indices[item]], [name], label)

    return CacheJob(storage.index(info, latents.digest, digest), len(latents), batches)


def images_of(latents: LatentSet) -> ImageSet:
    """Open the images of a cache, without labels, which lie beside the latents.

    Raises:
        ValueError: when they are not known, not available, or have changed.
    """
    require_latents(latents)
    info, choice = latents.info, latents.info.images
    if choice is None or choice.size is None or info.fingerprint is None or not choice.is_available():
        raise ValueError(
            f"{latents.source} does not say of which images it is, or these are gone: targets lie beside latents that "
            f"`specmatch cache` made of images which still exist"
        )
    images = choice.open(choice.size, labels=False)
    if changed := changes(info.fingerprint, images.fingerprint, images.names):
        raise ValueError(
            f"the images in {choice.source} have changed since {latents.source} was made ({changed}): restore them, or "
            f"cache them again"
        )
    warn_if_rewritten(f"the images of {latents.source}", info.fingerprint, images.fingerprint)
    return images
