"""How much faster is a feature extractor with channels last, and ShuffleNetV2 as `open_vision` runs it?

A TorchScript file beside itself in the usual layout, and ShuffleNetV2 as opened (batch norms in the convolutions,
channels last, eight images at once) beside the plain network on all images; in turns in one process, and by how much
features differ. Ratios are of seconds of processors at work, which other programs beside this one do not change.

    python bench/how_fast_are_features.py [FEATURES.pt] [--size 32] [--json PATH] [--threads N]

Without a file: a small network of random weights. ShuffleNetV2's are random.
"""

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from clock import seconds
from machine import describe as describe_machine
from spectrum_matching.nets.vision.encoders import open_vision
from spectrum_matching.nets.vision.shufflenet import SIDE, ShuffleNet
from spectrum_matching.spectrum.filters import resize

ROUNDS = 5


def compare(cases: dict[str, Callable[[], Tensor]], n: int) -> dict[str, float]:
    """Images a processor second of two cases, the median ratio of turns, and the largest relative difference."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    found = {}
    for turn in range(ROUNDS + 1):
        for name, case in cases.items():
            with torch.inference_mode():
                took = seconds(lambda case=case, name=name: found.update({name: case()})).work
            if turn:  # the first is to warm up
                spent[name].append(took)
    one, other = found.values()
    ratios = [a / b for a, b in zip(*spent.values(), strict=True)]
    rates = {f"images_a_second_{name}": n / statistics.median(each) for name, each in spent.items()}
    difference = float((one - other).abs().max() / one.abs().max())
    return {**rates, "ratio": statistics.median(ratios), "difference": difference}


def layouts(network: nn.Module, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The network in both layouts."""
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)
    batch = images.contiguous(memory_format=torch.channels_last)
    return {"contiguous": lambda: network(images), "channels_last": lambda: other(batch)}


def shufflenets(images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """ShuffleNetV2 as it is defined, and as it is opened."""
    plain = ShuffleNet()
    with TemporaryDirectory() as folder:
        torch.save(plain.state_dict(), f"{folder}/random.pth")
        opened = open_vision(f"shufflenet:{folder}/random.pth")
    return {
        "plain": lambda: plain(resize(images, (SIDE, SIDE), "bilinear")).flatten(2).mT,
        "opened": lambda: opened(images).tokens,
    }


def small() -> nn.Module:
    """A classifier's trunk of four convolutions."""
    pairs = pairwise((3, 64, 128, 256, 256))
    layers = [layer for a, b in pairs for layer in (nn.Conv2d(a, b, 3, 1 + (a > 3), 1), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, arguments.size, arguments.size, generator=generator) * 2 - 1
    network = torch.jit.load(str(arguments.features)).eval() if arguments.features else small()
    results = {
        "machine": describe_machine(),
        "features": compare(layouts(network, images), len(images)),
        "shufflenet": compare(shufflenets(images), len(images)),
    }
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
