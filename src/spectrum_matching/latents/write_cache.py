"""Writing a cache, shard by shard: resumable, and shared by several processes."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from .. import __version__
from ..data.fingerprint import warn_if_rewritten
from ..data.walk import BadFile
from ..files.atomic import require_writable
from ..files.outputs import require_own_folder
from ..latent_space import LatentSpace
from ..processes import exclusive_output, in_main, require_alike
from ..records.provenance import commit
from .gain_choice import GainChoice
from .latent_set import LatentInfo
from .rounding import RoundingErrors
from .shards import (
    CacheIndex,
    finish_cache,
    finished_shards,
    is_cache,
    remove_hidden,
    start_cache,
    started_cache,
    write_shard,
)

SHARD_IMAGES = 2048

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Storage:
    """Storage options of latents: dtype, whether mirrored images too, images in a shard (None: the default).

    gain: recorded with the latents, for what learns them; they are stored without it.
    """

    dtype: str
    flips: bool
    shard_images: int | None = None
    gain: GainChoice = field(default_factory=GainChoice)

    def index(self, info: LatentInfo, encoder_digest: str, labels: str = "") -> CacheIndex:
        """Return the index of a cache that is stored like this; labels: their digest, "" without any."""
        libraries = [name for name in ("torch", "diffusers", "safetensors", "transformers") if find_spec(name)]
        return CacheIndex(
            info=replace(info, gain=self.gain),
            encoder_digest=encoder_digest,
            dtype=self.dtype,
            shard_images=self.shard_images or SHARD_IMAGES,
            versions={"specmatch": __version__, "commit": commit()} | {name: version(name) for name in libraries},
            labels=labels,
        )


class JobBatch(NamedTuple):
    """Moments (b, c, h, w) by statistic, indices and names of the images, labels (b,) int64, and the bad files met."""

    moments: Mapping[str, Tensor]
    indices: Sequence[int]
    names: Sequence[str]
    labels: Tensor
    bad: tuple[BadFile, ...] = ()


@dataclass(frozen=True)
class CacheJob:
    """The index of a cache to be written, and of how many items it is made.

    batches: makes the latents of a shard, given its number and items. names: of the images, where they are known.
    """

    index: CacheIndex
    n: int
    batches: Callable[[int, range], Iterator[JobBatch]]
    names: Sequence[str] = ()


class ShardRows:
    """Rows of a shard, added batch by batch, in the cache's dtype; labels are dropped unless the cache holds them.

    rounding: errors of these rows.
    """

    def __init__(self, index: CacheIndex) -> None:
        self._dtype: torch.dtype = getattr(torch, index.dtype)
        empty = torch.empty(0, index.info.channels, *index.info.grid, dtype=self._dtype)
        numbers = torch.empty(0, dtype=torch.int64)
        self._parts = {name: [numbers if name in ("index", "label") else empty] for name in index.tensors}
        self.rounding = RoundingErrors()

    def add(self, batch: JobBatch) -> None:
        """Add a batch.

        Raises:
            ValueError: when a value is not finite, or becomes infinite in the dtype.
        """
        rounded = {name: values.to("cpu", self._dtype) for name, values in batch.moments.items()}
        for name, values in batch.moments.items():
            stored = rounded[name]
            finite = stored.isfinite().flatten(1).all(1)
            if not finite.all():
                row = int((~finite).nonzero()[0])
                largest, dtype = float(values[row].abs().max()), str(self._dtype).removeprefix("torch.")
                reason = "is not finite: its encoder cannot be trusted with it"
                if largest < float("inf"):
                    reason = f"reaches {largest:.4g}, which {dtype} does not hold; take bfloat16 or float32"
                raise ValueError(f"{name} of {batch.names[row]} {reason}")
            self._parts[name].append(stored)
        if any(values.dtype != self._dtype for values in batch.moments.values()):
            self.rounding.add(batch.moments, rounded)
        self._parts["index"].append(torch.tensor(batch.indices, dtype=torch.int64))
        if "label" in self._parts:
            self._parts["label"].append(batch.labels)

    def joined(self) -> dict[str, Tensor]:
        """Return all rows."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}


def write_cache(
    job: CacheJob, out: Path, accelerator: Accelerator, progress: Progress = lambda done, total: None
) -> None:
    """Write the missing shards of a cache, then its index; each process writes its share.

    progress: called with how many items this process has finished, and how many it will.

    Raises:
        ValueError: before any work, when another cache lies in `out` or the disk has no room; later, when a shard
            cannot be made or written, no item could be used, or rounding to the dtype is not small.
    """
    info = job.index.info
    images = {"images": info.fingerprint or job.n, "labels": job.index.labels}
    require_alike(accelerator, images | {"encoder": job.index.encoder_digest})
    with exclusive_output(accelerator, out):
        missing: dict[int, range] | None = in_main(accelerator, lambda: _start(job, out))
        if missing is None:
            return
        mine = list(missing.items())[accelerator.process_index :: accelerator.num_processes]
        total, done = sum(len(items) for _, items in mine), 0
        progress(0, total)
        for number, items in mine:
            rows = ShardRows(job.index)
            bad: tuple[BadFile, ...] = ()
            for batch in job.batches(number, items):
                rows.add(batch)
                bad += batch.bad
                done += len(batch.indices) + len(batch.bad)
                progress(done, total)
            tensors = rows.joined()
            if len(tensors["index"]) > 1:  # one image may well be constant
                rows.rounding.require_small(job.index.dtype)
            write_shard(out, number, tensors, bad, rows.rounding)
        accelerator.wait_for_everyone()
        in_main(accelerator, lambda: _finish(job, out))


def _items(job: CacheJob) -> dict[int, range]:
    """Return the items of each shard."""
    starts = range(0, job.n, job.index.shard_images)
    return {k: range(start, min(start + job.index.shard_images, job.n)) for k, start in enumerate(starts)}


def _start(job: CacheJob, out: Path) -> dict[int, range] | None:
    """Begin or resume a cache in `out`; return the items of the shards that are missing, None of a complete cache."""
    old, items = started_cache(out), _items(job)
    require_own_folder(out, lambda: is_cache(out))
    require_writable(out)
    if old is not None:
        if changed := old.differences(job.index, job.names):
            raise ValueError(
                f"{out} holds another cache: {', '.join(changed)}; choose another --out or the same values"
            )
        warn_if_rewritten(f"the images of {out}", old.info.fingerprint, job.index.info.fingerprint)
    finished = finished_shards(out, old or job.index, job.n)
    missing = {number: part for number, part in items.items() if number not in finished}
    if old is not None and old.shards and not missing:
        remove_hidden(out)
        log.info("%s is complete: %d images", out, sum(shard.n for shard in old.shards))
        return None
    _require_space(out, job.index, sum(map(len, missing.values())))
    if finished:
        log.info("resuming: %d of %d shards are finished", len(finished), len(items))
    start_cache(out, job.index)
    return missing


def _finish(job: CacheJob, out: Path) -> None:
    """Write the index."""
    finished = finished_shards(out, started_cache(out) or job.index, job.n)
    if lost := sorted(_items(job).keys() - finished.keys()):
        raise ValueError(
            f"{out}: {len(lost)} finished shards have disappeared (first: {lost[0]}); rerun the same command"
        )
    index = finish_cache(out, job.index, finished.values())
    info, space = index.info, index.info.global_space or LatentSpace()
    for file in info.bad:  # of all processes, and of those before a kill
        log.warning("skipped %s: %s", file.name, file.reason)
    n, skipped = sum(shard.n for shard in index.shards), f", {len(info.bad)} skipped" if info.bad else ""
    shape = " x ".join(map(str, (info.channels, *info.grid)))
    log.info("%d images%s: latents %s, mean %.4g, std %.4g", n, skipped, shape, space.mean[0], space.std[0])


def _require_space(folder: Path, index: CacheIndex, n: int) -> None:
    needed, free = n * bytes_of_one(index.info, index.dtype), shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{n} images take {needed / 2**30:.1f} GiB in {index.dtype}, and {folder} has {free / 2**30:.1f} GiB left;"
            " make room, or choose another --out"
        )


def bytes_of_one(info: LatentInfo, dtype: str) -> int:
    """Return how many bytes the moments of one image take."""
    n_statistics = (2 if info.holds == "posterior" else 1) * (2 if info.flips else 1)
    return n_statistics * info.channels * info.grid[0] * info.grid[1] * getattr(torch, dtype).itemsize
