"""The verb `cache`: the latents of images, encoded once, in a folder that training, analysis and other tools read."""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tyro.conf import arg

from .analysis.subjects import CACHED, ToCache, images_to_cache, is_cached
from .data.images import Split, open_images
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
from .data.latent_export import ForeignLayout, export_latents
from .data.latent_layouts import ImageChoice
from .data.latents import LatentSet, open_latents
from .data.training_targets import VISION, require_latents, targets_beside
from .files.atomic import require_writable
from .latent_origins import (
    Encoding,
    LatentOrigin,
    Stored,
    by_autoencoder,
    by_vision_encoder,
    encoded,
    imported,
)
from .machine_checks import chosen_device
from .nets.autoencoder import Autoencoder
from .nets.vision.encoders import canonical, open_vision
from .records.training_data import training_data

SHARD_IMAGES = 2048
TARGET_SHARD = 1 << 28  # bytes


def cache_latents(
    source: Annotated[str, arg(metavar="AUTOENCODER")],
    /,
    *,
    out: Path | None = None,
    data: str | None = None,
    size: int | None = None,
    split: Split | None = None,
    beside: Path | None = None,
    encoder_size: int | None = None,
    dtype: Literal["float16", "bfloat16", "float32"] = "float16",
    flips: bool = False,
    batch_size: int = 16,
    shard_images: int | None = None,
    workers: int = 0,
    device: str = "auto",
    export: ForeignLayout | None = None,
) -> Path:
    """Encode images once: posterior moments in safetensors shards with an index. The same command goes on after a kill.

    Under `accelerate launch` the processes share the shards.

    Args:
        source: A folder in diffusers' format, a hub name, an LDM checkpoint (X.safetensors), python:FILE.py:FACTORY for
            your own; latents:FOLDER, to import what another tool cached; or vision:ENCODER for alignment targets, with
            ENCODER gradients[:CELL], a folder in transformers' format, or hub:NAME.
        out: Folder for index.json and the shards; `targets` in that of --beside by default.
        data: "embedded", a folder or parquet path, or hub:NAME[:SPLIT]; by default what the autoencoder was trained on.
        size: Side of the square images in pixels; that of training by default, or 256.
        split: By default "train" where the autoencoder was trained on this data, and otherwise "all".
        beside: Of vision:ENCODER: cached latents whose images, mirrored ones as well, the targets are to be of.
        encoder_size: Of vision:ENCODER: side in pixels at which it sees the images; its own by default.
        dtype: Of the stored moments; a value that it cannot hold is an error.
        flips: Also the moments of the mirrored images, which training with flips needs.
        batch_size: Images at once.
        shard_images: Images in a shard, by default 2048, of targets as many as 256 MiB hold; at most so many for each
            process are encoded again after a kill.
        workers: Processes that read images, for each one that encodes them.
        device: "auto", "cpu", "cuda", "cuda:1", and so on.
        export: Of latents:FOLDER: write them into `out` in the layout of this tool, in float32.
    """
    if batch_size < 1 or (shard_images is not None and shard_images < 1) or workers < 0:
        raise ValueError(
            f"expected batches and shards of at least one image, and no negative number of workers; got {batch_size}, "
            f"{shard_images} and {workers}"
        )
    # One process may end hours after another; none of them talk in between.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])
    console = Console(quiet=not accelerator.is_main_process, stderr=True)
    is_vision = source.startswith(VISION)
    if (beside is not None or encoder_size is not None) and not is_vision:
        raise ValueError(f"--beside and --encoder-size are of {VISION}ENCODER, and {source} is none")
    if out is None and beside is None:
        raise ValueError("name the folder of the cache by --out")
    out = out or targets_beside(str(beside))
    chosen = accelerator.device if device == "auto" else chosen_device(device)
    latents = None if beside is None else open_latents(beside)
    stored = Stored(dtype, flips or (latents is not None and latents.has_flips), shard_images or SHARD_IMAGES)
    if export and not is_cached(source):
        raise ValueError(f"--export is of cached latents: cache {source} first, then export latents:FOLDER")
    if is_cached(source):
        if data or size or split:
            raise ValueError(f"{source} is encoded already: --data, --size and --split have no part in it")
        latents = open_latents(source.removeprefix(CACHED))
        if export:
            if accelerator.is_main_process:
                names = _image_names(latents) if export == "mar" else None
                with _bar(console) as bar:
                    task = bar.add_task("exporting", total=len(latents))
                    export_latents(latents, export, out, names=names, advance=lambda n: bar.advance(task, n))
            accelerator.wait_for_everyone()
            return out
        origin = imported(latents, stored)
    else:
        if latents is not None and (data or size or split):
            raise ValueError(f"{beside} says of which images: --data, --size and --split have no part in it")
        if latents is not None:
            to_cache = images_of(latents)
        else:
            to_cache = images_to_cache(None if is_vision else training_data(source), data, size=size, split=split)
        side = to_cache.images.size
        if is_vision:
            name = canonical(source.removeprefix(VISION))
            encoding = by_vision_encoder(name, open_vision(name, chosen, encoder_size), side, chosen)
            stored = stored._replace(shard_images=shard_images or images_in_a_shard(encoding, stored))
        else:
            name = str(Path(source).resolve()) if Path(source).exists() else source
            encoding = by_autoencoder(name, Autoencoder.from_pretrained(source), side, chosen)
        origin = encoded(encoding, to_cache, stored, batch_size=batch_size, workers=workers)
    write_cache(origin, out, accelerator, console)
    return out


def images_in_a_shard(encoding: Encoding, stored: Stored) -> int:
    """Of targets, which may be a hundred times as large as latents: shards are made in memory."""
    h, w = encoding.grid
    of_one = encoding.channels * h * w * getattr(torch, stored.dtype).itemsize * (2 if stored.flips else 1)
    return max(1, min(SHARD_IMAGES, TARGET_SHARD // of_one))


def images_of(latents: LatentSet) -> ToCache:
    """The images of a cache. ValueError where they are not known, not there, or no longer the same."""
    require_latents(latents)
    where, size, split, held_out, seed = latents.choice or ImageChoice("")
    if latents.images is None or latents.image_digest is None or size is None:
        raise ValueError(
            f"{latents.source} does not tell of which images it is, or these are gone: targets lie beside latents that "
            f"`specmatch cache` made of images which are still there"
        )
    images = open_images(where, size, split=split, held_out=held_out, seed=seed)
    if images.digest != latents.image_digest:
        raise ValueError(f"the images in {where} have changed since {latents.source} was made: cache them again")
    return ToCache(images, ImageChoice(where, size, split, held_out, seed))


def write_cache(origin: LatentOrigin, out: Path, accelerator: Accelerator, console: Console) -> None:
    """Write the missing shards of a cache, and its index when all are there; each process writes its share.

    Raises ValueError, before any work, where another cache lies there or the disk has no room.
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
        console.print(f"{escape(str(out))} is complete: {n} images", highlight=False, soft_wrap=True)
        return
    _require_space(out, index, sum(len(places[number]) for number in missing))
    if finished:
        console.print(f"going on: {len(finished)} of {len(places)} shards are there", highlight=False)
    accelerator.wait_for_everyone()  # until all know what is missing
    if accelerator.is_main_process:
        start_cache(out, index)
    accelerator.wait_for_everyone()  # until what was left half written is gone
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    with _bar(console) as bar:
        title = "caching" if accelerator.num_processes == 1 else f"caching, 1 of {accelerator.num_processes} shares"
        task = bar.add_task(title, total=sum(len(places[number]) for number in mine))
        for number in mine:
            tensors, bad = origin.shard(number, places[number], lambda n: bar.advance(task, n))
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
            text = escape(f"{file.name}: {file.reason}")
            console.print(f"[yellow]skipped[/] {text}", highlight=False, soft_wrap=True)
        skipped = f", {len(index.bad)} skipped" if index.bad else ""
        said = f"{n} images{skipped}: latents {latents}, mean {index.mean:.4g}, std {index.std:.4g}"
        console.print(said, highlight=False, soft_wrap=True)
    accelerator.wait_for_everyone()


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _image_names(latents: LatentSet) -> Sequence[str] | None:
    """Of the images by position, where they are at hand and still the same."""
    source, size, split, held_out, seed = latents.choice or ImageChoice("")
    if latents.images is None or size is None:
        return None
    images = open_images(source, size, split=split, held_out=held_out, seed=seed)
    return images.names if images.digest == latents.image_digest else None


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
