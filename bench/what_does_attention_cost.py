"""What does attention among few tokens cost on a CPU, in float32 as here, against PyTorch's bfloat16 kernel?

    python bench/what_does_attention_cost.py [--rounds 10] [--json FILE]

A training step in bf16 of SiT-micro on latents of 8 × 8, batch 64, with 16 and 64 tokens: forward, backward, AdamW and
averaged weights. The two are timed in turns; what is printed is the ratio of neighbours in CPU time.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch.nn.functional import scaled_dot_product_attention

from clock import seconds
from machine import describe  # the file beside this one
from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.diffusion import Times, diffusion_loss
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.training.autoencoder_config import Optimizer
from spectrum_matching.training.optimization import adamw, averaged

ATTEND = "spectrum_matching.nets.denoiser.transformer._attend"


def make_step(name: str) -> Callable[[], None]:
    """Return one training step."""
    net, options = build_denoiser(name, 8, (8, 8), 10, 0), Optimizer(lr=1e-3, ema=0.998)
    optimizer, ema = adamw(net, options), averaged(net, options)
    assert ema is not None
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(64, 8, 8, 8, generator=generator)
    labels = torch.randint(10, (64,), generator=generator)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            path, times = DiffusionPath("linear", "velocity"), Times("uniform")
            loss = diffusion_loss(net, path, data, labels, times=times, generator=generator)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.step(net.parameters())

    return step


def main() -> None:
    """Time both kernels at both numbers of tokens, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    document: dict[str, object] = {"machine": describe(), "tokens": {}}
    rows: dict[str, dict[str, float]] = {}
    for name, tokens in (("SiT-micro/2", 16), ("SiT-micro/1", 64)):
        step, ratios, ours = make_step(name), [], []
        for number in range(arguments.rounds + 2):
            here = seconds(step).work
            with patch(ATTEND, scaled_dot_product_attention):
                theirs = seconds(step).work
            if number >= 2:
                ratios.append(here / theirs)
                ours.append(here)
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        rows[str(tokens)] = {"q1": low, "median": middle, "q3": high, "seconds": statistics.median(ours)}
        print(
            f"{tokens} tokens: {middle:.2f} ({low:.2f} … {high:.2f}) of the time, {rows[str(tokens)]['seconds']:.3f} s"
        )
    document["tokens"] = rows
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
