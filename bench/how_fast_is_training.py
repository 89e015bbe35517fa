"""How many images a second does training of the tiny autoencoder see on a CPU?

    python bench/how_fast_is_training.py [--json FILE]

Images are random numbers: reading them is not measured. On a GPU: what_does_a_gpu_do.py.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, repeat

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from machine import describe  # the file beside this one
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.nets.vision.perceptual import LPIPS
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Data, Intervals, tiny
from spectrum_matching.training.optimization import StepRecord
from spectrum_matching.training.train_autoencoder import build_state, open_autoencoder, train_autoencoder


def cases() -> Iterator[tuple[str, AutoencoderRun]]:
    """Named runs to time."""
    for precision in ("fp32", "bf16"):
        for size in (32, 64):
            run = replace(tiny("esm_dsm"), precision=precision, batch_size=16, data=Data(size=size))
            yield f"tiny, {size} x {size}, ESM + DSM, {precision}", run


def seconds_of(records: Sequence[StepRecord]) -> list[float]:
    """Return the seconds of each update; one that was skipped did less, and is refused."""
    if any(record.skipped for record in records):
        raise ValueError("an update was skipped, as its gradient is not finite: it is no measure of speed")
    return [record.seconds for record in records]


def measure(
    run: AutoencoderRun, accelerator: Accelerator, warmup: int, steps: int, perceptual: LPIPS | None = None
) -> dict[str, float]:
    """Images a second (median of the steps), and on a GPU memory and operations."""
    device = accelerator.device
    state = build_state(run, open_autoencoder(run), run.method.build(), device)
    images = torch.rand(run.batch_size, 3, run.data.size, run.data.size, device=device) * 2 - 1
    batches = repeat(ImageBatch(images, torch.zeros(run.batch_size), ()))
    run = replace(run, steps=warmup + steps + 1, intervals=Intervals(log=0))
    records = train_autoencoder(run, state, batches, accelerator, perceptual)
    seconds = seconds_of(list(islice(records, warmup + steps))[warmup:])
    result = {"images_per_second": run.batch_size / statistics.median(seconds), "batch_size": run.batch_size}
    if device.type == "cuda":
        result["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if not run.compile:  # the counter sees eager operations
            with FlopCounterMode(display=False) as counter:
                next(records)
            result["tflop_per_image"] = counter.get_total_flops() / run.batch_size / 1e12
    return result


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    rows: dict[str, dict[str, float]] = {}
    for name, run in cases():
        row = rows[name] = measure(run, accelerator, warmup=5, steps=arguments.steps)
        print(f"{name:<44}" + "  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"machine": describe(), "cases": rows}, file, indent=1)


if __name__ == "__main__":
    main()
