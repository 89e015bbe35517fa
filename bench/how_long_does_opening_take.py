"""How long does it take to open a folder of many images for a few of them?

    python bench/how_long_does_opening_take.py [--files 50000] [--rounds 5] [--json FILE]

JPEG files of 64 × 64 pixels in 100 class folders, written for the purpose; the page cache is warm. Opening lists and
examines all files. What it spares is timed beside it: reading every header, as opening once did, in the threads that it
used. A fingerprint reads samples of all files, where a record asks for one.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from machine import describe  # the file beside this one
from spectrum_matching.data import open_images
from spectrum_matching.files.threads import in_threads

N_CLASSES, N_KINDS, N_READ = 100, 16, 8


def rounds(folder: str, n_files: int, n_rounds: int) -> dict[str, list[float]]:
    """Time all parts in each round."""
    times: dict[str, list[float]] = {"opening": [], "reading 8": [], "every header": [], "fingerprint": []}
    open_images(folder, 32)  # the first imports what the others find imported
    for _ in range(n_rounds):
        started = time.perf_counter()
        images = open_images(folder, 32, split="all")
        times["opening"].append(time.perf_counter() - started)
        assert (len(images), len(images.classes)) == (n_files, N_CLASSES)
        chosen = [k * n_files // N_READ for k in range(N_READ)]
        times["reading 8"].append(seconds(partial(list, map(images.__getitem__, chosen))))
        times["every header"].append(seconds(partial(in_threads, images.frame, n_files)))
        times["fingerprint"].append(seconds(partial(getattr, images, "fingerprint")))
    return times


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write(root: Path, n: int) -> None:
    """Write `n` files of a few different contents."""
    contents = []
    for kind in range(N_KINDS):
        stream = io.BytesIO()
        pixels = np.random.default_rng(kind).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    for number in range(n):
        path = root / f"class{number % N_CLASSES:02}" / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[number % N_KINDS])


def main() -> None:
    """Time the parts in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.files)
        times = rounds(folder, arguments.files, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    before = medians["opening"] + medians["every header"]
    document = {
        "machine": describe(),
        "files": arguments.files,
        "rounds": arguments.rounds,
        "seconds": medians,
        "ratio_of_opening_with_headers": before / medians["opening"],
    }
    for name, median in medians.items():
        print(f"{name:<16}{median:8.2f} s")
    print(f"opening with every header takes {document['ratio_of_opening_with_headers']:.1f} times as long")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
