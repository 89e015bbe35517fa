"""How many images a second does training see? On a CPU the tiny preset; on a GPU f16d16 and f8d4 at 256 × 256 in bf16.

    python bench/how_fast_is_training.py [--json FILE]

On a GPU also: eager and compiled, with and without the discriminator, peak memory, and the share of the card's own bf16
matrix product rate that the step's counted operations reach. Images are random numbers: reading them is not measured.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, repeat

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from machine import describe  # the file beside this one
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.training.autoencoder_config import (
    AutoencoderRun,
    Data,
    DiscriminatorChoice,
    Intervals,
    Losses,
    Network,
    tiny,
)
from spectrum_matching.training.train_autoencoder import build_state, open_autoencoder, train_autoencoder


def cases(cuda: bool) -> Iterator[tuple[str, AutoencoderRun]]:
    """Named runs to time."""
    if not cuda:
        for precision in ("fp32", "bf16"):
            for size in (32, 64):
                run = replace(tiny("esm_dsm"), precision=precision, batch_size=16, data=Data(size=size))
                yield f"tiny, {size} x {size}, ESM + DSM, {precision}", run
        return
    for preset, batch_size in (("f16d16", 48), ("f8d4", 48)):
        for compiled in (False, True):
            for weight in (0.0, 0.5):
                run = replace(
                    tiny("esm_dsm"),
                    batch_size=batch_size,
                    precision="bf16",
                    compile=compiled,
                    channels_last=True,
                    data=Data(size=256),
                    network=Network(preset=preset),
                    losses=Losses(),
                    discriminator=DiscriminatorChoice(weight=weight),
                )
                name = (
                    f"{preset}, {'compiled' if compiled else 'eager'}, {'with' if weight else 'without'} discriminator"
                )
                yield name, run


def measure(run: AutoencoderRun, accelerator: Accelerator, warmup: int, steps: int) -> dict[str, float]:
    """Images a second (median of the steps), and on a GPU memory and operations."""
    device = accelerator.device
    state = build_state(run, open_autoencoder(run), run.method.build(), device)
    images = torch.rand(run.batch_size, 3, run.data.size, run.data.size, device=device) * 2 - 1
    batches = repeat(ImageBatch(images, torch.zeros(run.batch_size), ()))
    run = replace(run, steps=warmup + steps + 1, intervals=Intervals(log=0))
    records = train_autoencoder(run, state, batches, accelerator)
    seconds = [record.seconds for record in islice(records, warmup + steps)][warmup:]
    result = {"images_per_second": run.batch_size / statistics.median(seconds), "batch_size": run.batch_size}
    if device.type == "cuda":
        result["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if not run.compile:  # the counter sees eager operations
            with FlopCounterMode(display=False) as counter:
                next(records)
            result["tflop_per_image"] = counter.get_total_flops() / run.batch_size / 1e12
    return result


def bf16_peak(device: torch.device, n: int = 8192) -> float:
    """TFLOP/s of a large bf16 matrix product."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - started) / 1e12


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    accelerator = Accelerator(mixed_precision="no")
    cuda = accelerator.device.type == "cuda"
    document: dict[str, object] = {"machine": describe(), "cases": {}}
    if cuda:
        torch.backends.cudnn.benchmark = True
        document["bf16_peak_tflops"] = bf16_peak(accelerator.device)
    rows: dict[str, dict[str, float]] = {}
    for name, run in cases(cuda):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        row = rows[name] = measure(run, accelerator, warmup=5, steps=arguments.steps)
        eager = rows.get(name.replace("compiled", "eager"), {})
        if "tflop_per_image" in eager:
            row["share_of_peak"] = row["images_per_second"] * eager["tflop_per_image"] / document["bf16_peak_tflops"]
        print(f"{name:<44}" + "  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    document["cases"] = rows
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
