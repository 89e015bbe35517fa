"""How much faster are cached latents than one .npy file for each image, written and read in random order?

The same moments (mean and log-variance, random numbers) go through both in turns, and what is printed is the ratio of
neighbours: its median and quartiles in wall-clock time, its median in CPU time. Read means: a batch of random images as
float32 tensors. Files of float16 hold the same bytes as the cache; files of float32 are what other tools write. What is
read was just written, so it lies in memory: a disk's own speed is not measured.

    python bench/how_fast_is_the_cache.py [--json PATH] [--images N] [--repeats N] [--threads N] [--folder DIR]
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clock import Seconds, quartiles, seconds
from machine import describe as describe_machine
from spectrum_matching.data.order import PositionedBatches
from spectrum_matching.latents.latent_set import LatentInfo, training_keys
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import CacheIndex, finish_cache, write_shard

SHAPES = {"f16d16": (16, 16, 16), "f8d4": (4, 32, 32)}
BATCH, SHARD = 256, 2048
N_BATCHES = 8  # in one turn of reading


def write_ours(mean: Tensor, logvar: Tensor, folder: Path) -> None:
    folder.mkdir()
    c, h, w = mean.shape[1:]
    info = LatentInfo(channels=c, grid=(h, w), n_images=(len(mean), len(mean)))
    index = CacheIndex(info, encoder_digest="", dtype="float16", shard_images=SHARD, versions={})
    shards = []
    for number, first in enumerate(range(0, len(mean), SHARD)):
        rows = slice(first, first + SHARD)
        positions = torch.arange(len(mean))[rows]
        shards.append(write_shard(folder, number, {"mean": mean[rows], "logvar": logvar[rows], "index": positions}))
    finish_cache(folder, index, shards)


def file_of(folder: Path, image: int) -> Path:
    return folder / f"{image // 1000:05d}" / f"{image:08d}.npy"


def write_files(mean: Tensor, logvar: Tensor, dtype: type, folder: Path) -> None:
    for image in range(len(mean)):
        path = file_of(folder, image)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, torch.cat([mean[image], logvar[image]]).numpy().astype(dtype))


def file_batches(folder: Path, n: int) -> Iterator[Tensor]:
    for keys in PositionedBatches(n, BATCH, 0):
        yield torch.stack([torch.from_numpy(np.load(file_of(folder, image))) for image, _ in keys]).float()


def measure(shape: tuple[int, ...], n: int, repeats: int, folder: Path) -> dict:
    """Images a second of ours and of files, and their ratios turn by turn."""
    generator = torch.Generator().manual_seed(0)
    mean, logvar = torch.randn(2, n, *shape, generator=generator).half()
    ours, files = folder / "ours", {"float16": folder / "float16", "float32": folder / "float32"}
    writers = {"ours": partial(write_ours, mean, logvar, ours)} | {
        dtype: partial(write_files, mean, logvar, getattr(np, dtype), path) for dtype, path in files.items()
    }
    writing: dict[str, list[Seconds]] = {name: [] for name in writers}
    for _ in range(max(3, repeats // 4)):
        for name, write in writers.items():
            shutil.rmtree(folder / name, ignore_errors=True)
            writing[name].append(seconds(write))
    latents = open_latents(ours)
    readers: dict[str, Iterator] = {
        "ours": map(latents.read_batch, training_keys(latents, PositionedBatches(n, BATCH), False))
    }
    readers |= {dtype: file_batches(path, n) for dtype, path in files.items()}
    one, other = next(readers["ours"]), next(readers["float16"])
    assert torch.equal(torch.cat([one.mean, one.logvar], 1), other)
    reading: dict[str, list[Seconds]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, batches in readers.items():
            reading[name].append(seconds(lambda batches=batches: [None for _ in islice(batches, N_BATCHES)]))
    return {"write": compare(writing, n), "read": compare(reading, N_BATCHES * BATCH)}


def compare(turns: dict[str, list[Seconds]], n: int) -> dict:
    rates = {name: {"images_per_second": quartiles([n / s.clock for s in values])} for name, values in turns.items()}
    for dtype in ("float16", "float32"):
        pairs = list(zip(turns[dtype], turns["ours"], strict=True))
        rates[dtype]["ratio"] = quartiles([files.clock / ours.clock for files, ours in pairs])
        rates[dtype]["ratio_of_work"] = quartiles([files.work / ours.work for files, ours in pairs])
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=21, help="turns of reading (default 21)")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    parser.add_argument("--folder", type=Path, help="where to write, for instance on the disk in question")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, object] = {"machine": describe_machine(), "images": arguments.images, "batch": BATCH}
    print(" · ".join(f"{key} {value}" for key, value in describe_machine().items()))
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found = measure(shape, arguments.images, arguments.repeats, Path(folder))
        result[name] = found
        for verb, rates in found.items():
            print(f"{name}, {verb}: ours {rates['ours']['images_per_second']['median']:,.0f} images/s")
            for dtype in ("float16", "float32"):
                ratio, work = rates[dtype]["ratio"], rates[dtype]["ratio_of_work"]
                rate = rates[dtype]["images_per_second"]["median"]
                print(
                    f"  {ratio['median']:.1f} times files of {dtype} (quartiles {ratio['q1']:.1f} ... "
                    f"{ratio['q3']:.1f}; {work['median']:.1f} in CPU time), which give {rate:,.0f} images/s"
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
