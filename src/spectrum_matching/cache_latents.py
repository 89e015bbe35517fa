"""The verb `cache`: the latents of images, encoded once, in a folder that training, analysis and other tools read."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal, NamedTuple, get_args

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from tyro.conf import Positional, arg

from . import __version__
from .analysis.measure import check_size
from .analysis.subjects import CACHED, images_to_cache, is_cached, training_data
from .data.array_files import BadLatentError
from .data.images import BadFile, ImageSet, Split
from .data.latent_cache import (
    CacheIndex,
    differences,
    finish_cache,
    finished_shards,
    note_shard,
    start_cache,
    started_cache,
    write_shard,
)
from .data.latent_sources import LOGVAR_RANGE
from .data.latents import LatentSet, open_latents
from .data.order import batches_at
from .nets.autoencoder import Autoencoder
from .provenance import commit, weights_digest

Shard = tuple[dict[str, Tensor], tuple[BadFile, ...]]


class Origin(NamedTuple):
    """Where latents come from: what the cache will say of them, and its shards' tensors and bad files.

    shard: called with the places of its images and what to tell how many are done.
    """

    index: CacheIndex
    shard: Callable[[range, Callable[[int], None]], Shard]


def cache_latents(
    source: Annotated[Positional[str], arg(metavar="AUTOENCODER")],
    /,
    *,
    out: Path,
    data: str | None = None,
    size: int | None = None,
    split: Split | None = None,
    dtype: Literal["float16", "bfloat16", "float32"] = "float16",
    flips: bool = False,
    batch_size: int = 16,
    shard_images: int = 2048,
    workers: int = 0,
    device: str = "auto",
) -> Path:
    """Encode images once: posterior moments in safetensors shards with an index. The same command goes on after a kill.

    Under `accelerate launch` the processes share the shards.

    Args:
        source: A folder in diffusers' format, a hub name, an LDM checkpoint (X.safetensors), python:FILE.py:FACTORY for
            your own; or latents:FOLDER, the cache of another tool, to import.
        out: Folder for index.json and the shards.
        data: "embedded", a folder or parquet path, or hub:NAME[:SPLIT]; by default what the autoencoder was trained on.
        size: Side of the square images in pixels; that of training by default, or 256.
        split: By default what the autoencoder was trained on where it was trained on this data; otherwise all.
        dtype: Of the stored moments. float16 is the finest of the small ones; values that it cannot hold are an error.
        flips: Also the moments of every image mirrored, which training with flips needs.
        batch_size: Images at once.
        shard_images: Images in a shard; as many are encoded again, at most, after a kill.
        workers: Processes that read images, for each process that encodes them.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
    """
    if batch_size < 1 or shard_images < 1 or workers < 0:
        raise ValueError(
            f"expected batches and shards of at least 1 image and no negative workers; got {batch_size}, {shard_images}"
            f" and {workers}"
        )
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    settings = {"dtype": dtype, "flips": flips, "shard_images": shard_images}
    if is_cached(source):
        if data or size or split:
            raise ValueError(f"{source} is encoded already: --data, --size and --split have no part in it")
        origin = _imported(open_latents(source.removeprefix(CACHED)), settings)
    else:
        chosen = accelerator.device if device == "auto" else _device(device)
        images, choice = images_to_cache(training_data(source), data, size=size, split=split)
        origin = _encoded(source, chosen, images, choice, settings, batch_size, workers)
    index = origin.index
    _require_writable(out)
    there = started_cache(out)
    if there is not None and (changed := differences(there, index)):
        raise ValueError(f"{out} holds another cache ({'; '.join(changed)}); choose another --out or the same values")
    n_shards = math.ceil(index.n_source / shard_images)
    finished = finished_shards(out, there or index)
    missing = [number for number in range(n_shards) if number not in finished]
    for bad in index.bad:
        console.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}", highlight=False)
    if there is not None and there.shards and not missing:
        console.print(f"{escape(str(out))} is complete: {sum(s.n for s in there.shards)} images", highlight=False)
        return out
    _require_space(out, index, len(missing))
    if finished:
        console.print(f"going on: {len(finished)} of {n_shards} shards are there", highlight=False)
    accelerator.wait_for_everyone()  # all have seen the same missing shards before any is written
    if accelerator.is_main_process:
        start_cache(out, index)
    accelerator.wait_for_everyone()
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    ranges = {n: range(n * shard_images, min((n + 1) * shard_images, index.n_source)) for n in mine}
    with _bar(console) as bar:
        task = bar.add_task("caching", total=sum(map(len, ranges.values())))
        for number, places in ranges.items():
            tensors, bad_files = origin.shard(places, lambda n: bar.advance(task, n))
            for bad in bad_files:
                bar.print(f"[yellow]skipped[/] {escape(f'{bad.name}: {bad.reason}')}")
            note_shard(out, write_shard(out, number, tensors, bad_files))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        index = finish_cache(out, index, finished_shards(out, there or index).values())
        n_cached = sum(shard.n for shard in index.shards)
        skipped = f", {len(index.bad)} skipped" if index.bad else ""
        console.print(
            f"{n_cached} images{skipped}: {index.channels} x {index.grid[0]} x {index.grid[1]}, mean {index.mean:.4g}, "
            f"std {index.std:.4g}",
            highlight=False,
        )
    accelerator.wait_for_everyone()
    return out
