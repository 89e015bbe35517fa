"""Of the time that an analysis takes, how much is the autoencoder's own and how much the metrics'?

    python bench/how_much_does_measuring_cost.py [AUTOENCODER] [--data PATH] [--images 1000] [--json FILE]

Encoding and decoding are timed call by call; what is left is everything else: reading images, metrics, fits and
bootstraps. Without an autoencoder: the tiny preset, at 64 × 64.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from machine import describe  # the file beside this one
from spectrum_matching.analysis import analyze
from spectrum_matching.data import open_images
from spectrum_matching.nets.autoencoder import Autoencoder


class Clock:
    """Seconds spent in the calls that it is wrapped around."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(x: torch.Tensor) -> Any:
            started = time.perf_counter()
            found = function(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - started
            self.calls += len(x)
            return found

        return timed


def main() -> None:
    """Time one analysis and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoder", nargs="?")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--size", type=int)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--tests", type=int, default=50)
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    given = arguments.autoencoder
    codec = Autoencoder.from_pretrained(given) if given else Autoencoder.from_preset("tiny")
    size = arguments.size or (256 if given else 64)
    images = open_images(arguments.data, size, split="all")
    clocks = {"encoding": Clock(), "decoding": Clock()}
    codec.encode = clocks["encoding"].around(codec.encode)
    codec.decode = clocks["decoding"].around(codec.decode)
    started = time.perf_counter()
    analysis = analyze(codec, images, n_images=arguments.images, n_tests=arguments.tests)
    total = time.perf_counter() - started
    network = sum(clock.seconds for clock in clocks.values())
    rest = total - network
    document = {
        "machine": describe(),
        "autoencoder": given or "tiny",
        "images": analysis.sample.n_images,
        "size": size,
        "tests": arguments.tests,
        "seconds": {"total": total, **{name: clock.seconds for name, clock in clocks.items()}},
        "images_through": {name: clock.calls for name, clock in clocks.items()},
        "everything_else": rest,
        "ratio_to_encoding_and_decoding": rest / network,
    }
    for name, clock in clocks.items():
        print(f"{name:<16}{clock.seconds:8.1f} s for {clock.calls} images")
    print(
        f"{'everything else':<16}{total - network:8.1f} s, {(total - network) / network:.2f} of encoding and decoding"
    )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
