"""Of the time that an analysis takes, how much is the autoencoder's own and how much the metrics'?

    python bench/how_much_does_measuring_cost.py [AUTOENCODER] [--data PATH] [--images 1000] [--json FILE]

Encoding and decoding are timed call by call; what is left is everything else: reading images, metrics, fits and
bootstraps. Without an autoencoder: a preset with random weights, by default tiny at 64 × 64. Where a network would
take hours, --timed N runs it on N images of each shape, and multiplies; the numbers of the analysis mean nothing then.
Seconds are wall-clock time; with one thread on a CPU, CPU time.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from machine import describe  # the file beside this one
from spectrum_matching.analysis import analyze
from spectrum_matching.data import open_images
from spectrum_matching.methods import Gaussian
from spectrum_matching.nets.autoencoder import Autoencoder


@dataclass
class Calls:
    """Images of one shape: how many were asked for, how many were run in how many seconds, and what they came to."""

    asked: int = 0
    run: int = 0
    seconds: float = 0.0
    output: Any = None


def now() -> float:
    """Seconds: CPU time where one thread works, otherwise wall-clock time."""
    return time.process_time() if is_alone() else time.perf_counter()


def is_alone() -> bool:
    """Whether one thread does all the work."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


class Clock:
    """Seconds in the calls that it is wrapped around. most: images of each shape to run, if not all."""

    def __init__(self, most: int | None) -> None:
        self.most, self.calls = most, dict[tuple[int, ...], Calls]()

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(x: torch.Tensor) -> Any:
            calls = self.calls.setdefault(tuple(x.shape[1:]), Calls())
            calls.asked += len(x)
            if self.most is None or not calls.run:
                started = now()
                found = function(x[: self.most])
                if x.is_cuda:
                    torch.cuda.synchronize()
                calls.seconds += now() - started
                calls.run += len(x[: self.most])
                if self.most is None:
                    return found
                calls.output = found
            return repeated(calls.output, torch.arange(len(x)) % calls.run)

        return timed

    @property
    def asked(self) -> int:
        """Images of all shapes."""
        return sum(calls.asked for calls in self.calls.values())

    @property
    def spent(self) -> float:
        """Seconds of the images that were run."""
        return sum(calls.seconds for calls in self.calls.values())

    @property
    def seconds(self) -> float:
        """Seconds of all images, at the pace of those that were run."""
        return sum(calls.seconds * calls.asked / calls.run for calls in self.calls.values())


def repeated(output: Any, rows: torch.Tensor) -> Any:
    """These rows of images or of a posterior."""
    if isinstance(output, torch.Tensor):
        return output[rows]
    return Gaussian(output.mean[rows], output.logvar[rows])


def main() -> None:
    """Time one analysis and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autoencoder", nargs="?")
    parser.add_argument("--preset", default="tiny", help="without an autoencoder")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--size", type=int)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--tests", type=int, default=50)
    parser.add_argument("--timed", type=int, help="images of each shape that the network runs on, if not all")
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    given = arguments.autoencoder
    codec = Autoencoder.from_pretrained(given) if given else Autoencoder.from_preset(arguments.preset)
    size = arguments.size or (64 if arguments.preset == "tiny" and not given else 256)
    images = open_images(arguments.data, size, split="all")
    clocks = {"encoding": Clock(arguments.timed), "decoding": Clock(arguments.timed)}
    codec.encode = clocks["encoding"].around(codec.encode)
    codec.decode = clocks["decoding"].around(codec.decode)
    started = now()
    analysis = analyze(codec, images, n_images=arguments.images, n_tests=arguments.tests)
    rest = now() - started - sum(clock.spent for clock in clocks.values())
    network = sum(clock.seconds for clock in clocks.values())
    document = {
        "machine": describe(),
        "autoencoder": given or arguments.preset,
        "images": analysis.sample.n_images,
        "size": size,
        "tests": arguments.tests,
        "timed": arguments.timed,
        "clock": "processor" if is_alone() else "wall",
        "seconds": {"total": network + rest, **{name: clock.seconds for name, clock in clocks.items()}},
        "images_through": {name: clock.asked for name, clock in clocks.items()},
        "everything_else": rest,
        "ratio_to_encoding_and_decoding": rest / network,
    }
    for name, clock in clocks.items():
        print(f"{name:<16}{clock.seconds:8.1f} s for {clock.asked} images")
    print(f"{'everything else':<16}{rest:8.1f} s, {rest / network:.2f} of encoding and decoding")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
