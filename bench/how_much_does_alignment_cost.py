"""How much longer is a diffusion step with an alignment, and with a tap that nobody uses?

    python bench/how_much_does_alignment_cost.py [--json FILE]

Forward, backward and AdamW on random latents and targets, in turns, in CPU time: plain;
plain without any word of taps in the network's forward; with REPA, iREPA and REPA-DoG. Opening and reading targets is
not counted. On a CPU SiT-micro at 64 tokens, on a GPU SiT-B at 256 tokens towards targets of 768 channels.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from machine import describe  # beside this file
from spectrum_matching.diffusion import Path, Times, diffusion_loss
from spectrum_matching.diffusion.alignment import Alignment, irepa, repa, repa_dog
from spectrum_matching.nets.denoiser.build import build_denoiser, token_grid
from spectrum_matching.nets.denoiser.sit import N_TIME_FEATURES
from spectrum_matching.nets.denoiser.transformer import patchify, time_features, unpatchify


class Tapless(nn.Module):
    """A SiT whose forward knows no taps and checks nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None) -> tuple[Tensor, None]:
        own = self.network
        x = own.first(patchify(noisy, own.patch)) + own.positions
        condition = own.time(time_features(t * own.time_scale, N_TIME_FEATURES).to(noisy.dtype))
        condition = functional.silu(condition + own.label(labels, len(noisy)))
        for block in own.blocks:
            x = block(x, condition)
        shift, scale = own.modulation(condition)[:, None].chunk(2, dim=-1)
        x = functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        return unpatchify(own.last(x), own.grid, own.patch), None


def step_of(
    network: nn.Module, alignment: Alignment | None, tap: int, shape: tuple[int, ...], target: Tensor
) -> Callable:
    """One update; the same numbers at each call."""
    device = target.device
    parameters = [*network.parameters(), *(alignment.parameters() if alignment else ())]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
    data = torch.randn(len(target), *shape, device=device)
    labels = torch.zeros(len(target), dtype=torch.int64, device=device)
    grid = token_grid(getattr(network, "network", network))

    def step() -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.autocast(device.type, torch.bfloat16):
            asked = tap if alignment else None
            loss = diffusion_loss(network, Path(), data, labels, times=Times(), generator=generator, tap=asked)
            total = loss.total if alignment is None else loss.total + 0.5 * alignment(loss.tokens, grid, target)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Time all in turns, print and write ratios to the plain step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small = device.type == "cpu"
    name, shape, batch, width, tap = (
        ("SiT-micro/1", (8, 8, 8), 64, 36, 2) if small else ("SiT-B/1", (16, 16, 16), 256, 768, 4)
    )
    network = build_denoiser(name, shape[0], shape[1:], 10).to(device)
    target = torch.randn(batch, width, *token_grid(network), device=device)
    wide, hidden = network.width, 256 if small else 2048
    makes = {
        "plain": None,
        "no taps": None,
        "REPA": repa(wide, width, hidden),
        "iREPA": irepa(wide, width),
        "REPA-DoG": repa_dog(wide, width, 0.5, 1.6 if small else 3.2),
    }
    steps = {}
    for label, alignment in makes.items():
        own = Tapless(network) if label == "no taps" else network
        steps[label] = step_of(own, alignment.to(device) if alignment else None, tap, shape, target)

    def seconds(step: Callable) -> float:
        clock = time.process_time if small else time.perf_counter
        started = clock()
        step()
        if not small:
            torch.cuda.synchronize()
        return clock() - started

    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {label: [] for label in steps}
    for number in range(arguments.repeats):
        # Every other time backwards, so that none always follows the same one.
        for label in list(steps) if number % 2 else reversed(steps):
            taken[label].append(seconds(steps[label]))
    ratios = {}
    for label in steps:
        found = [one / plain for one, plain in zip(taken[label], taken["plain"], strict=True)]
        quartiles = statistics.quantiles(found, n=4)
        ratios[label] = {"q1": quartiles[0], "median": statistics.median(found), "q3": quartiles[2]}
    ratios.pop("plain")
    # What taps cost is the step with them over the one without.
    document = {
        "machine": describe(),
        "denoiser": name,
        "batch_size": batch,
        "tap_off": statistics.median(a / b for a, b in zip(taken["plain"], taken["no taps"], strict=True)),
        "ratio_to_plain": ratios,
        "plain_seconds": statistics.median(taken["plain"]),
    }
    print(json.dumps(document, indent=1))
    if arguments.json:
        with open(arguments.json, "w") as file:
            file.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
