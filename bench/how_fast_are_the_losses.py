"""How much faster are the losses than their description taken literally, and what share of a training step are they?

Times forward and backward (gradient with respect to the latents) of `baseline.py` and of the package in turns, so that
whatever else the machine does meets both, and prints the ratio of neighbours: its median and quartiles. A turn is five
evaluations, of which the first finds the images in main memory (cold) and the others in the cache (warm); each has its
own ratio, and a training step lies between them.
One evaluation of ESM is compared with one; the paper's code makes two in each step.

    python bench/how_fast_are_the_losses.py [--json PATH] [--repeats N] [--threads N] [--without-step]
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import baseline
from clock import quartiles, seconds
from machine import describe as describe_machine
from spectrum_matching import ESM, block_lowpass

IMAGES, LATENTS = (16, 3, 256, 256), (16, 16, 16, 16)
KEEP = (7, 5, 3)  # the strengths that filter at all, each as often as the others


def compare(slow: Callable[[], list[Tensor]], fast: Callable[[], list[Tensor]], repeats: int) -> dict:
    """Times of both in turns, their ratios pair by pair, and how far apart at most what they return is, in norm."""
    differences = [((a - b).norm() / a.norm()).item() for a, b in zip(slow(), fast(), strict=True)]  # also the warm-up
    turns = [([seconds(slow).clock for _ in range(5)], [seconds(fast).clock for _ in range(5)]) for _ in range(repeats)]
    cold = [(a[0], b[0]) for a, b in turns]
    warm = [(statistics.median(a[1:]), statistics.median(b[1:])) for a, b in turns]
    result: dict = {
        name: {
            "baseline_ms": quartiles([1e3 * a for a, _ in pairs]),
            "ours_ms": quartiles([1e3 * b for _, b in pairs]),
            "ratio": quartiles([a / b for a, b in pairs]),
        }
        for name, pairs in {"warm": warm, "cold": cold}.items()
    }
    return result | {"max_relative_difference": max(differences)}


def esm(loss: Callable[[Tensor, Tensor], Tensor], latents: Tensor, images: Tensor) -> list[Tensor]:
    value = loss(latents, images)
    return [value.detach(), *torch.autograd.grad(value, latents)]


def dsm(lowpass: Callable[[Tensor, int], Tensor], latents: Tensor, images: Tensor, above: Tensor) -> list[Tensor]:
    """One step for each strength. above: gradient that comes down from the decoder."""
    results = []
    for keep in KEEP:
        moved = lowpass(latents, keep)
        results += [lowpass(images, keep), moved.detach(), *torch.autograd.grad(moved, latents, above)]
    return results


def training_step(repeats: int) -> float:
    """Seconds for each image of a step of the f16d16 autoencoder at 256 x 256: forward, backward and AdamW, float32.

    At batch 1, which is all that fits a small machine; L1 and nothing else, so a real step costs more.
    """
    from spectrum_matching.nets.autoencoder import Autoencoder

    autoencoder = Autoencoder.from_preset("f16d16")
    optimizer = torch.optim.AdamW(autoencoder.parameters(), fused=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, *IMAGES[1:], generator=generator) * 2 - 1

    def step() -> None:
        output = autoencoder.decode(autoencoder.encode(images).sample(generator))
        (output - images).abs().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return statistics.median(seconds(step).clock for _ in range(repeats))


def describe(name: str, result: dict) -> str:
    lines = [f"{name} (values and gradients agree to {result['max_relative_difference']:.0e})"]
    for state in ("warm", "cold"):
        ratio, ours, slow = (result[state][key] for key in ("ratio", "ours_ms", "baseline_ms"))
        lines.append(
            f"  {state}: {ratio['median']:.1f} times faster (quartiles {ratio['q1']:.1f} ... {ratio['q3']:.1f}); "
            f"{slow['median']:.1f} ms against {ours['median']:.2f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--repeats", type=int, default=11, help="turns of each (default 11)")
    parser.add_argument("--threads", type=int, default=2, help="default 2")
    parser.add_argument("--without-step", action="store_true", help="leave out the training step, which takes a minute")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, generator=generator)
    latents = torch.randn(LATENTS, generator=generator).requires_grad_()
    above = torch.randn(LATENTS, generator=generator)
    ours = ESM(delta=1.0, variant="paper")

    result: dict[str, object] = {"machine": describe_machine(), "repeats": arguments.repeats}
    print(" · ".join(f"{key} {value}" for key, value in describe_machine().items()))
    shapes = f"images {IMAGES}, latents {LATENTS}"
    fast_esm = compare(
        lambda: esm(baseline.esm, latents, images),
        lambda: esm(lambda z, x: ours(None, z, x), latents, images),
        arguments.repeats,
    )
    print(describe(f"ESM, one evaluation, {shapes}", fast_esm))
    fast_dsm = compare(
        lambda: dsm(baseline.block_lowpass, latents, images, above),
        lambda: dsm(block_lowpass, latents, images, above),
        arguments.repeats,
    )
    print(describe(f"block low-pass, keep {KEEP} in turn, {shapes}", fast_dsm))
    result |= {"esm": fast_esm, "dsm": fast_dsm}

    if not arguments.without_step:
        both = (
            (fast_esm["cold"]["ours_ms"]["median"] + fast_dsm["cold"]["ours_ms"]["median"] / len(KEEP))
            / 1e3
            / IMAGES[0]
        )
        step = training_step(repeats=3)
        share = both / step
        result["training_step"] = {"seconds_per_image": step, "losses_seconds_per_image": both, "share": share}
        print(
            f"ESM and DSM together: {100 * share:.2f} % of a training step of f16d16 "
            f"({1e3 * both:.2f} ms of {1e3 * step:.0f} ms for each image; losses at batch {IMAGES[0]}, step at batch 1)"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
