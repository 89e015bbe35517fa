"""Where the latents of a cache come from: an encoder and images, or the cache of another tool."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from .. import __version__
from ..data.images import BadFile, ImageChoice, ImageSet
from ..data.order import batches_at
from ..files.atomic import require_writable
from ..files.digests import digest_weights
from ..nets.autoencoder import Autoencoder, check_size, eval_mode
from ..nets.vision.encoders import VisionEncoder, canonical
from ..records.provenance import commit
from .alignment_targets import VISION, require_latents
from .cache import (
    CacheIndex,
    differences,
    finish_cache,
    finished_shards,
    note_shard,
    start_cache,
    started_cache,
    write_shard,
)
from .dataset import CACHED, LatentSet
from .foreign.array_files import BadLatentError
from .foreign.layouts import Holds
from .sources import LOGVAR_RANGE

SHARD_IMAGES = 2048
TARGET_SHARD = 1 << 28  # bytes

log = logging.getLogger(__name__)

Shard = tuple[dict[str, Tensor], tuple[BadFile, ...]]


class Stored(NamedTuple):
    """How a cache holds its latents; shard_images: images in a shard, None for the default."""

    dtype: str
    flips: bool
    shard_images: int | None = None


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
    name = str(Path(name).resolve()) if Path(name).exists() else name

    def encode(images: Tensor) -> Mapping[str, Tensor]:
        posterior = autoencoder.encode(images)
        if not autoencoder.is_stochastic:
            return {"mean": posterior.mean}
        return {"mean": posterior.mean, "logvar": posterior.logvar.clamp(*LOGVAR_RANGE)}

    side = size // autoencoder.factor
    return Encoding(
        name=name,
        digest=digest_weights(autoencoder),
        holds="posterior" if autoencoder.is_stochastic else "mean",
        channels=autoencoder.channels,
        grid=(side, side),
        factor=autoencoder.factor,
        encode=encode,
        # An encoder that draws at random then draws the same for a shard, whichever process makes it and when.
        running=lambda number: eval_mode(autoencoder, device, seed=number),
    )


def by_vision_encoder(name: str, encoder: VisionEncoder, size: int, device: torch.device) -> Encoding:
    """What a vision encoder sees, as fields of its tokens. ValueError for images of a size that it cannot take."""
    grid = encoder.grid(size)
    return Encoding(
        name=f"{VISION}{canonical(name)}",
        digest=encoder.digest,
        holds="mean",
        channels=encoder.width,
        grid=grid,
        factor=size // grid[0],
        encode=lambda images: {"mean": encoder(images).field},
        running=lambda number: nullcontext(device),
    )


def encoded(encoding: Encoding, images: ImageSet, stored: Stored, *, batch_size: int, workers: int) -> LatentOrigin:
    """Latents that are made of images."""
    choice = images.choice
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
        shard_images=stored.shard_images or SHARD_IMAGES,
    )

    def shard(number: int, places: range, advance: Callable[[int], None]) -> Shard:
        rows = ShardRows(index, bool(images.classes))
        bad: list[BadFile] = []
        with encoding.running(number) as place:
            for batch in batches_at(images, batch_size, places, workers=workers):
                if batch.indices:
                    x = batch.images.to(place)
                    names = [images.names[i] for i in batch.indices]
                    for suffix in ("", "_flip") if stored.flips else ("",):
                        for statistic, values in encoding.encode(x.flip(-1) if suffix else x).items():
                            rows.add(f"{statistic}{suffix}", values, names)
                    rows.add_numbers(batch.indices, batch.labels)
                bad += batch.bad
                advance(len(batch.indices) + len(batch.bad))
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
        shard_images=stored.shard_images or SHARD_IMAGES,
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


def images_in_a_shard(encoding: Encoding, stored: Stored) -> int:
    """Of targets, which may be a hundred times as large as latents: shards are made in memory."""
    h, w = encoding.grid
    of_one = encoding.channels * h * w * getattr(torch, stored.dtype).itemsize * (2 if stored.flips else 1)
    return max(1, min(SHARD_IMAGES, TARGET_SHARD // of_one))


def images_of(latents: LatentSet) -> ImageSet:
    """The images of a cache. ValueError where they are not known, not there, or no longer the same."""
    require_latents(latents)
    choice = latents.choice
    if choice is None or choice.size is None or latents.images is None or latents.image_digest is None:
        raise ValueError(
            f"{latents.source} does not tell of which images it is, or these are gone: targets lie beside latents that "
            f"`specmatch cache` made of images which are still there"
        )
    images = choice.open(choice.size)
    if images.digest != latents.image_digest:
        raise ValueError(
            f"the images in {choice.source} have changed since {latents.source} was made: cache them again"
        )
    return images


def cache_images(
    encoding: Encoding,
    images: ImageSet,
    stored: Stored,
    out: Path,
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Encode images and cache their latents or alignment targets in `out`; see `encoded` and `write_cache`."""
    if stored.shard_images is None and encoding.name.startswith(VISION):
        stored = stored._replace(shard_images=images_in_a_shard(encoding, stored))
    write_cache(encoded(encoding, images, stored, batch_size=batch_size, workers=workers), out, accelerator, progress)


def write_cache(
    origin: LatentOrigin,
    out: Path,
    accelerator: Accelerator,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the missing shards of a cache, then its index; each process writes its share.

    progress: called with the number of finished images and the total, of this process.

    Raises:
        ValueError: before any work, where another cache lies in `out` or the disk has no room.
    """
    index = origin.contents
    require_writable(out)
    there = started_cache(out)
    if there is not None and (changed := differences(there, index)):
        raise ValueError(f"{out} holds another cache: {', '.join(changed)}; choose another --out or the same values")
    places = [range(k, min(k + index.shard_images, origin.n)) for k in range(0, origin.n, index.shard_images)]
    finished = finished_shards(out, there or index)
    missing = [number for number in range(len(places)) if number not in finished]
    if there is not None and there.shards and not missing:
        n = sum(shard.n for shard in there.shards)
        log.info("%s is complete: %d images", out, n)
        return
    _require_space(out, index, sum(len(places[number]) for number in missing))
    if finished:
        log.info("resuming: %d of %d shards are finished", len(finished), len(places))
    accelerator.wait_for_everyone()  # until all know what is missing
    if accelerator.is_main_process:
        start_cache(out, index)
    accelerator.wait_for_everyone()  # until what was left half written is gone
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    total, done = sum(len(places[number]) for number in mine), 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress(done, total)

    progress(0, total)
    for number in mine:
        tensors, bad = origin.shard(number, places[number], advance)
        note_shard(out, write_shard(out, number, tensors, bad))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        finished = finished_shards(out, there or index)
        if lost := sorted(set(range(len(places))) - set(finished)):
            raise ValueError(f"{out}: {len(lost)} shards are gone again, such as {lost[0]}; the same command goes on")
        index = finish_cache(out, index, finished.values())
        n = sum(shard.n for shard in index.shards)
        latents = f"{index.channels} x {index.grid[0]} x {index.grid[1]}"
        for file in index.bad:  # of all processes, and of those before a kill
            log.warning("skipped %s: %s", file.name, file.reason)
        skipped = f", {len(index.bad)} skipped" if index.bad else ""
        log.info("%d images%s: latents %s, mean %.4g, std %.4g", n, skipped, latents, index.mean, index.std)
    accelerator.wait_for_everyone()


def _require_space(folder: Path, index: CacheIndex, n: int) -> None:
    n_statistics = (2 if index.holds == "posterior" else 1) * (2 if index.flips else 1)
    h, w = index.grid
    needed = n * index.channels * h * w * n_statistics * getattr(torch, index.dtype).itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{n} images take {needed / 2**30:.1f} GiB in {index.dtype}, and {folder} has {free / 2**30:.1f} GiB left;"
            " make room, or choose another --out"
        )
