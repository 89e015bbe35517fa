"""How fast are images read from tars and tables, on a disk and in a store, against a folder of files?

    python bench/how_fast_are_the_sources.py [FOLDER] [--size 256] [--batch 50] [--rounds 5] [--json FILE]

The image files of FOLDER, by default 200 embedded ones, are copied into a folder, a tar and a parquet file, and these
into the store that fsspec keeps in memory, and read in the random order of training, decoded and cropped, by one
process. The table in the store holds them ten times, in groups of 20 rows, so that not all of its groups fit the memory
of a process. All take turns, and what is printed is the ratio of neighbours: its median and quartiles in wall-clock
time, its median in CPU time. Everything lies in memory already, so a disk's or a network's own speed is not measured.
"""

import argparse
import json
import os
import shutil
import statistics
import tarfile
import tempfile
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet as parquet
from PIL import Image

from clock import Seconds, seconds
from machine import describe
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.data.order import PositionedBatches, image_batches
from spectrum_matching.data.pictures import to_bytes
from spectrum_matching.data.walk import walk
from spectrum_matching.seeding import spread


def embedded(folder: Path, size: int) -> list[Path]:
    """Write embedded images as JPEG."""
    folder.mkdir()
    images = open_images("embedded", size, split="all")
    files = [folder / f"{index}.jpg" for index in spread(len(images), 200)]
    for file in files:
        Image.fromarray(to_bytes(images[int(file.stem)].image[None])[0].numpy()).save(file, quality=90)
    return files


def copies(files: list[Path], root: Path) -> dict[str, str]:
    """Write the same bytes to each source; return their names."""
    folder, tar, table = root / "folder", root / "images.tar", root / "images.parquet"
    folder.mkdir()
    with tarfile.open(tar, "w") as archive:
        for number, file in enumerate(files):
            shutil.copyfile(file, folder / f"{number:06}{file.suffix}")
            archive.add(file, f"{number:06}{file.suffix}")
    rows = [{"bytes": file.read_bytes(), "path": None} for file in files]
    parquet.write_table(pyarrow.table({"image": rows}), table, row_group_size=100)
    fsspec.filesystem("memory").pipe("/bench/images.tar", tar.read_bytes())
    many = root / "many.parquet"
    parquet.write_table(pyarrow.table({"image": rows * 10}), many, row_group_size=20)
    fsspec.filesystem("memory").pipe("/bench/images.parquet", many.read_bytes())
    return {
        "folder": str(folder),
        "tar": str(tar),
        "table": str(table),
        "tar in a store": "memory://bench/images.tar",
        "table in a store": "memory://bench/images.parquet",
    }


def train_on(images: ImageSet, batch: int, start: int, end: int) -> None:
    """Read the images of the steps from `start` to `end` of a training."""
    for _ in image_batches(images, PositionedBatches(len(images), batch, start=start, end=end, groups=images.groups)):
        pass


def ratio(times: list[Seconds], others: list[Seconds]) -> dict[str, float]:
    """Compare two round by round: how many times as many images a second the first reads."""
    clock, work = ([b[k] / a[k] for a, b in zip(times, others, strict=True)] for k in range(2))
    low, middle, high = statistics.quantiles(clock, n=4, method="inclusive")
    return {"q1": low, "median": middle, "q3": high, "of_work": statistics.median(work)}


def main() -> None:
    """Time all in turns, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        if arguments.folder is None:
            files = embedded(Path(root) / "embedded", arguments.size * 3 // 2)
        else:
            files = [file for file in walk(arguments.folder).files if file.suffix.lower() in (".jpg", ".jpeg", ".png")]
        os.environ["XDG_CACHE_HOME"] = root  # what is kept of the tars goes with them
        sources = copies(files, Path(root))
        sets = {name: open_images(source, arguments.size, split="all") for name, source in sources.items()}
        steps = len(files) // arguments.batch
        n = steps * arguments.batch
        times: dict[str, list[Seconds]] = {name: [] for name in sets}
        for number in range(arguments.rounds + 1):
            for name, images in sets.items():
                start, end = number * steps, (number + 1) * steps
                taken = seconds(lambda each=(images, arguments.batch, start, end): train_on(*each))
                if number:  # the first warms the page cache
                    times[name].append(taken)
    document = {
        "machine": describe(),
        "images": n,
        "megabytes": sum(file.stat().st_size for file in files) / 1e6,
        "size": arguments.size,
        "rounds": arguments.rounds,
        "images_per_second": {name: n / statistics.median(t.work for t in taken) for name, taken in times.items()},
        "ratio": {name: ratio(times[name], times["folder"]) for name in times if name != "folder"},
    }
    for name, rate in document["images_per_second"].items():
        print(f"{name:<18}{rate:8.0f} images for each second of a processor")
    for name, found in document["ratio"].items():
        print(
            f"{name} over folder: {found['median']:.2f} ({found['q1']:.2f} to {found['q3']:.2f}), "
            f"{found['of_work']:.2f} in CPU time"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
