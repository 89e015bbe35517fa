"""How much faster is a feature extractor with channels last?

A TorchScript file beside itself in the usual layout, in turns in one process, and by how much its features differ.
Ratios are of seconds of processors at work, which other programs beside this one do not change.

    python bench/how_fast_are_features.py [FEATURES.pt] [--size 32] [--json PATH] [--threads N]

Without a file: a small network of random weights.
"""

import argparse
import json
import statistics
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from clock import seconds
from machine import describe as describe_machine

ROUNDS = 5


def compare(network: nn.Module, images: Tensor) -> dict[str, float]:
    """Images a processor second in both layouts, the median ratio of turns, and the largest relative difference."""
    spent: dict[str, list[float]] = {"contiguous": [], "channels_last": []}
    found = {}
    for turn in range(ROUNDS + 1):
        for name in spent:
            layout = getattr(torch, f"{name}_format" if name == "contiguous" else name)
            network.to(memory_format=layout)
            batch = images.contiguous(memory_format=layout)
            with torch.inference_mode():
                took = seconds(lambda batch=batch, name=name: found.update({name: network(batch)})).work
            if turn:  # the first is to warm up
                spent[name].append(took)
    one, other = found.values()
    ratios = [a / b for a, b in zip(*spent.values(), strict=True)]
    rates = {f"images_a_second_{name}": len(images) / statistics.median(each) for name, each in spent.items()}
    difference = float((one - other).abs().max() / one.abs().max())
    return {**rates, "ratio": statistics.median(ratios), "difference": difference}


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
    results = {"machine": describe_machine(), "features": compare(network, images)}
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
