"""What does a fingerprint of many files cost, against names and byte counts alone, and against all of their bytes?

    python bench/what_does_a_fingerprint_cost.py [--files 50000] [--bytes 32768] [--rounds 5] [--json FILE]

Files of random bytes in 100 folders, written for the purpose, of which a fingerprint reads three blocks of 4 KiB each.
They lie in the page cache, so a disk's own speed is not measured. The three are timed in turns, and what is printed is
the ratio of neighbours: its median and quartiles in wall-clock time, its median in CPU time.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clock import seconds
from machine import describe  # the file beside this one
from spectrum_matching.data.fingerprint import FileContents, fingerprint
from spectrum_matching.files.digests import digest_lines, n_bytes
from spectrum_matching.files.threads import in_threads

N_FOLDERS = 100


def write(root: Path, n: int, length: int) -> list[str]:
    """Write `n` files, and return their names."""
    names = [f"{number % N_FOLDERS:02}/{number:06}" for number in range(n)]
    generator = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(generator.bytes(length))
    return names


def rounds(root: Path, names: list[str], n_rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time all three in each round."""
    works: dict[str, Callable[[], object]] = {
        "names and byte counts": lambda: digest_lines(f"{name}\0{n_bytes(root / name)}" for name in names),
        "fingerprint": lambda: fingerprint(FileContents(root, names)),
        "all bytes": lambda: in_threads(lambda item: hashlib.sha256((root / names[item]).read_bytes()), len(names)),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(n_rounds + 1):
        for name, work in works.items():
            taken = seconds(work)
            if number:  # the first warms the page cache
                times[name].append(taken)
    return times


def ratio(times: list[tuple[float, float]], others: list[tuple[float, float]]) -> dict[str, float]:
    """Compare two round by round."""
    clock, process = ([a[k] / b[k] for a, b in zip(times, others, strict=True)] for k in range(2))
    low, middle, high = statistics.quantiles(clock, n=4, method="inclusive")
    return {"q1": low, "median": middle, "q3": high, "of_work": statistics.median(process)}


def main() -> None:
    """Time the three in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=1 << 15, help="length of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = rounds(Path(folder), write(Path(folder), arguments.files, arguments.bytes), arguments.rounds)
    others = [name for name in times if name != "fingerprint"]
    document = {
        "machine": describe(),
        "files": arguments.files,
        "bytes": arguments.bytes,
        "rounds": arguments.rounds,
        "seconds": {name: statistics.median(clock for clock, _ in taken) for name, taken in times.items()},
        "ratio": {name: ratio(times["fingerprint"], times[name]) for name in others},
    }
    for name, median in document["seconds"].items():
        print(f"{name:<24}{median:8.2f} s")
    for name, found in document["ratio"].items():
        print(
            f"fingerprint over {name}: {found['median']:.2f} ({found['q1']:.2f} to {found['q3']:.2f}), "
            f"{found['of_work']:.2f} in CPU time"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
