"""Where the latents of a cache come from: an encoder and images, or the cache of another tool."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from . import __version__
from .analysis.subjects import CACHED, ToCache
from .data.array_files import BadLatentError
from .data.images import BadFile
from .data.latent_cache import CacheIndex
from .data.latent_layouts import Holds, ImageChoice
from .data.latent_sources import LOGVAR_RANGE
from .data.latents import LatentSet
from .data.order import batches_at
from .data.training_targets import VISION
from .files.digests import weights_digest
from .nets.autoencoder import Autoencoder, check_size, evaluating
from .nets.vision.encoders import VisionEncoder
from .records.provenance import commit

Shard = tuple[dict[str, Tensor], tuple[BadFile, ...]]


class Stored(NamedTuple):
    """How a cache is to hold its latents; see `cache_latents`."""

    dtype: str
    flips: bool
    shard_images: int


class LatentOrigin(NamedTuple):
    """What the cache will say, over how many places, and what makes a shard: its tensors and the bad files among them.

    `shard` takes the number of a shard, its places, and what to tell how many more of them are done. It raises
    ValueError for latents that are not finite, or that do not fit the dtype.
    """

    contents: CacheIndex
    n: int
    shard: Callable[[int, range, Callable[[int], None]], Shard]


class ShardRows:
    """The tensors of a shard, batch by batch, in the cache's dtype."""

    def __init__(self, index: CacheIndex, is_labelled: bool) -> None:
        self._dtype: torch.dtype = getattr(torch, index.dtype)
        statistics = ["mean", *(["logvar"] if index.holds == "posterior" else [])]
        names = [f"{name}{suffix}" for name in statistics for suffix in ("", "_flip") if index.flips or not suffix]
        empty = torch.empty(0, index.channels, *index.grid, dtype=self._dtype)
        numbers = ["index", *(["label"] if is_labelled else [])]
        self._parts = {name: [empty] for name in names} | {
            name: [torch.empty(0, dtype=torch.int64)] for name in numbers
        }

    def add(self, name: str, values: Tensor, images: Sequence[str]) -> None:
        """Moments (b, c, h, w) of these images; ValueError, naming one, for values that the dtype does not hold."""
        stored = values.to("cpu", self._dtype)
        finite = stored.isfinite().flatten(1).all(1)
        if not finite.all():
            place = int((~finite).nonzero()[0])
            largest = float(values[place].abs().max())
            if largest < float("inf"):
                dtype = str(self._dtype).removeprefix("torch.")
                raise ValueError(
                    f"{name} of {images[place]} reaches {largest:.4g}, which {dtype} does not hold; take bfloat16 or"
                    " float32"
                )
            raise ValueError(f"{name} of {images[place]} is not finite: its encoder cannot be trusted with it")
        self._parts[name].append(stored)

    def add_numbers(self, places: Sequence[int], labels: Tensor) -> None:
        """Places in the source, and labels (b,) int64, which are dropped where the set has none."""
        self._parts["index"].append(torch.tensor(places))
        if "label" in self._parts:
            self._parts["label"].append(labels)

    def joined(self) -> dict[str, Tensor]:
        """All that was added."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}


class Encoding(NamedTuple):
    """What makes latents of images of one size, and what its cache will say of it.

    encode: images (b, 3, H, W) → `mean` (b, channels, *grid), perhaps `logvar`. running: a block in which shard number
    n is encoded, which yields where the images have to be.
    """

    name: str
    digest: str
    holds: Holds
    channels: int
    grid: tuple[int, int]
    factor: int
    encode: Callable[[Tensor], Mapping[str, Tensor]]
    running: Callable[[int], AbstractContextManager[torch.device]]


def by_autoencoder(name: str, autoencoder: Autoencoder, size: int, device: torch.device) -> Encoding:
    """Posteriors. ValueError for images of a size that the autoencoder cannot take."""
    check_size(name, autoencoder, size)

    def encode(images: Tensor) -> Mapping[str, Tensor]:
        posterior = autoencoder.encode(images)
        if not autoencoder.is_stochastic:
            return {"mean": posterior.mean}
        return {"mean": posterior.mean, "logvar": posterior.logvar.clamp(*LOGVAR_RANGE)}

    side = size // autoencoder.factor
    return Encoding(
        name=name,
        digest=weights_digest(autoencoder),
        holds="posterior" if autoencoder.is_stochastic else "mean",
        channels=autoencoder.channels,
        grid=(side, side),
        factor=autoencoder.factor,
        encode=encode,
        # An encoder that draws at random then draws the same for a shard, whichever process makes it and when.
        running=lambda number: evaluating(autoencoder, device, None, seed=number),
    )


def by_vision_encoder(name: str, encoder: VisionEncoder, size: int, device: torch.device) -> Encoding:
    """What a vision encoder sees, as fields of its tokens. ValueError for images of a size that it cannot take."""
    grid = encoder.grid(size)
    return Encoding(
        name=f"{VISION}{name}",
        digest=encoder.digest,
        holds="mean",
        channels=encoder.width,
        grid=grid,
        factor=size // grid[0],
        encode=lambda images: {"mean": encoder(images).field},
        running=lambda number: nullcontext(device),
    )


def encoded(encoding: Encoding, to_cache: ToCache, stored: Stored, *, batch_size: int, workers: int) -> LatentOrigin:
    """Latents that are made of images."""
    images, choice = to_cache
    index = CacheIndex(
        source=choice.source,
        split=choice.split,
        held_out=choice.held_out,
        seed=choice.seed,
        source_digest=images.digest,
        n_source=len(images),
        image_size=images.size,
        classes=images.classes,
        autoencoder=encoding.name,
        autoencoder_digest=encoding.digest,
        versions=_versions(),
        holds=encoding.holds,
        channels=encoding.channels,
        grid=encoding.grid,
        factor=encoding.factor,
        bad=images.bad,
        dtype=stored.dtype,
        flips=stored.flips,
        shard_images=stored.shard_images,
    )

    def shard(number: int, places: range, advance: Callable[[int], None]) -> Shard:
        rows = ShardRows(index, bool(images.classes))
        bad: list[BadFile] = []
        with encoding.running(number) as place:
            for at, batch in batches_at(images, batch_size, places, workers=workers):
                if at:
                    x = batch.images.to(place)
                    names = [images.names[i] for i in at]
                    for suffix in ("", "_flip") if stored.flips else ("",):
                        for statistic, values in encoding.encode(x.flip(-1) if suffix else x).items():
                            rows.add(f"{statistic}{suffix}", values, names)
                    rows.add_numbers(at, batch.labels)
                bad += batch.bad
                advance(len(at) + len(batch.bad))
        return rows.joined(), tuple(bad)

    return LatentOrigin(index, len(images), shard)


def imported(latents: LatentSet, stored: Stored) -> LatentOrigin:
    """Moments and labels as they lie in another cache. ValueError for mirrored images that it does not hold."""
    if stored.flips and not latents.has_flips:
        raise ValueError(f"{latents.source} holds no latents of mirrored images: import it without --flips")
    # Of another tool's images only their order is known.
    is_ours = latents.layout == "specmatch" and latents.choice is not None
    choice = latents.choice if is_ours and latents.choice else ImageChoice(f"{CACHED}{latents.source}")
    labels, (h, w) = latents.labels(), latents.grid
    positions = [key for key in latents.image_keys if isinstance(key, int)]
    if len(set(positions)) < len(latents):
        positions = list(range(len(latents)))
    index = CacheIndex(
        source=choice.source,
        split=choice.split,
        held_out=choice.held_out,
        seed=choice.seed,
        source_digest=(latents.image_digest if is_ours else None) or latents.digest,
        n_source=max(latents.n_images[1], len(latents)),
        image_size=choice.size or 0,
        classes=latents.classes,
        autoencoder=latents.autoencoder,
        autoencoder_digest=latents.digest,
        versions=_versions(),
        holds=latents.holds,
        channels=latents.channels,
        grid=(h, w),
        factor=(choice.size or 0) // h,
        bad=latents.bad,
        dtype=stored.dtype,
        flips=stored.flips,
        shard_images=stored.shard_images,
    )

    def shard(number: int, places: range, advance: Callable[[int], None]) -> Shard:
        rows = ShardRows(index, any(label >= 0 for label in labels))
        bad: list[BadFile] = []
        for item in places:
            name = latents.name(item)
            try:
                both = [latents[item], *([latents.mirrored(item)] if stored.flips else [])]
            except BadLatentError as error:
                bad.append(BadFile(name, str(error)))
            else:
                for suffix, row in zip(("", "_flip"), both, strict=False):
                    rows.add(f"mean{suffix}", row.mean[None], [name])
                    if row.logvar is not None:
                        rows.add(f"logvar{suffix}", row.logvar[None], [name])
                rows.add_numbers([positions[item]], torch.tensor(labels[item : item + 1]))
            advance(1)
        return rows.joined(), tuple(bad)

    return LatentOrigin(index, len(latents), shard)


def _versions() -> dict[str, str]:
    return {
        "specmatch": __version__,
        "commit": commit(),
        **{name: version(name) for name in ("torch", "diffusers", "safetensors", "transformers") if find_spec(name)},
    }
