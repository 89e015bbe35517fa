"""How much longer does opening take for comparing what is opened with its checksums?

    python bench/how_much_does_comparing_cost.py [--repeats 15] [--json FILE]

A checkpoint of SiT-S/2 with its averages and AdamW's moments, the export of an autoencoder of Stable Diffusion's
size and a cache of f16d16 latents are opened in turns with the comparison and without: without the manifest, or the
call that compares shards. What is printed is the ratio of neighbours: its median and quartiles in wall-clock time, its
median in CPU time. An epoch opens the cache and reads all latents in random order. All lies in memory: a disk's own
speed is not measured.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from diffusers.models import AutoencoderKL

from clock import seconds
from machine import describe  # the file beside this one
from spectrum_matching.data.order import PositionedBatches
from spectrum_matching.files.atomic import write_folder_atomically
from spectrum_matching.files.checkpoints import STATE, read_checkpoint, write_checkpoint
from spectrum_matching.files.manifest import MANIFEST
from spectrum_matching.latents import shards
from spectrum_matching.latents.latent_set import LatentInfo, training_keys
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.denoiser.build import build_denoiser

N_LATENTS, SHAPE, BATCH = 32_768, (16, 16, 16), 256


def write_products(root: Path) -> None:
    """Write checkpoint, export and cache, and beside the first two a copy without manifest."""
    denoiser = build_denoiser("SiT-S/2", 4, (32, 32))
    state = {name: dict(denoiser.state_dict()) for name in ("weights", "averaged", "first moment", "second moment")}
    state = {part: {name: values.clone() for name, values in tensors.items()} for part, tensors in state.items()}
    write_checkpoint(root / "checkpoint", state)
    network = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
        latent_channels=4,
    )
    write_folder_atomically(root / "export", network.save_pretrained)
    for name in ("checkpoint", "export"):
        shutil.copytree(root / name, root / f"bare {name}", ignore=shutil.ignore_patterns(MANIFEST))
    folder, n = root / "cache", shards.CacheIndex(LatentInfo(), "", "float16", 2048, {}).shard_images
    folder.mkdir()
    info = LatentInfo(channels=SHAPE[0], grid=SHAPE[1:], n_images=(N_LATENTS, N_LATENTS))
    index, entries = shards.CacheIndex(info, "", "float16", n, {}), []
    for number in range(N_LATENTS // n):
        moments = {name: torch.randn(n, *SHAPE).half() for name in ("mean", "logvar")}
        entries.append(shards.write_shard(folder, number, moments | {"index": number * n + torch.arange(n)}))
    shards.finish_cache(folder, index, entries)


def open_cache_bare(folder: Path) -> object:
    with patch.object(shards, "_compare"):
        return open_latents(folder)


def epoch(folder: Path, is_compared: bool = True) -> None:
    latents: Any = open_latents(folder) if is_compared else open_cache_bare(folder)
    order = PositionedBatches(len(latents), BATCH, 0)
    for keys in islice(training_keys(latents, order, flip=False), len(latents) // BATCH):
        latents.read_batch(keys)


def main() -> None:
    """Open in turns, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_products(root)
        load = partial(torch.load, map_location="cpu", weights_only=True)
        pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "checkpoint": (
                partial(read_checkpoint, root / "checkpoint", ""),
                partial(load, root / "bare checkpoint" / STATE),
            ),
            "export": (
                partial(Autoencoder.from_pretrained, root / "export"),
                partial(Autoencoder.from_pretrained, root / "bare export"),
            ),
            "cache": (partial(open_latents, root / "cache"), partial(open_cache_bare, root / "cache")),
            "epoch": (partial(epoch, root / "cache"), partial(epoch, root / "cache", is_compared=False)),
        }
        results = {}
        for what, (compared, bare) in pairs.items():
            compared(), bare()  # the first imports what the others find imported
            times = [(seconds(compared), seconds(bare)) for _ in range(arguments.repeats)]
            ratios = [one.clock / other.clock for one, other in times]
            q1, median, q3 = statistics.quantiles(ratios, n=4, method="inclusive")
            folder = root / ("cache" if what == "epoch" else what)
            results[what] = {
                "megabytes": sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
                "seconds": statistics.median(one.clock for one, _ in times),
                "seconds_added": statistics.median(one.clock - other.clock for one, other in times),
                "ratio": {"q1": q1, "median": median, "q3": q3},
                "ratio_of_work": statistics.median(one.work / other.work for one, other in times),
            }
            row = results[what]
            print(
                f"{what:<12}{row['megabytes']:8.0f} MB{row['seconds']:8.2f} s with, {row['seconds_added']:.2f} s more; "
                f"{median:.2f} × ({q1:.2f} … {q3:.2f}), {row['ratio_of_work']:.2f} × in CPU time"
            )
    if arguments.json:
        document = {"machine": describe(), "repeats": arguments.repeats, "opening": results}
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
