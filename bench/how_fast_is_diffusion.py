"""How many latents a second does diffusion training see, and how many does sampling make?

    python bench/how_fast_is_diffusion.py [--json FILE]

The networks of the small plans, on a CPU, on latents of 8 × 8 × 8. Latents are random numbers; samples are not
decoded. On a GPU: what_does_a_gpu_do.py.
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

from how_fast_is_training import seconds_of  # files beside this one
from machine import describe
from spectrum_matching.diffusion import SAMPLERS, SampleNoise, evaluations, guided, time_grid
from spectrum_matching.training.autoencoder_config import Intervals
from spectrum_matching.training.diffusion_config import DenoiserChoice, DiffusionRun
from spectrum_matching.training.diffusion_data import DiffusionBatch
from spectrum_matching.training.train_diffusion import DiffusionState, build_diffusion_state, path_of, train_diffusion

SAMPLER, SAMPLER_STEPS = "dpm_solver", 25


def cases() -> Iterator[tuple[str, DiffusionRun, tuple[int, int, int], int]]:
    """Name, run, shape of the latents, and classes."""
    for name in ("SiT-micro/2", "SiT-micro/1", "UViT-micro/2"):
        for precision in ("fp32", "bf16"):
            run = DiffusionRun(batch_size=64, precision=precision, denoiser=DenoiserChoice(name))
            yield f"{name}, {precision}", run, (8, 8, 8), 10


def training(
    run: DiffusionRun, state: DiffusionState, shape: tuple[int, int, int], accelerator: Accelerator, steps: int
) -> dict[str, float]:
    """Latents a second (median of the steps), and on a GPU memory and operations."""
    device, warmup = accelerator.device, 5
    data = torch.randn(run.batch_size, *shape, device=device)
    labels = torch.zeros(run.batch_size, dtype=torch.int64, device=device)
    run = replace(run, steps=warmup + steps + 1, intervals=Intervals(log=0))
    records = train_diffusion(run, state, repeat(DiffusionBatch(data, labels, ())), accelerator)
    seconds = seconds_of(list(islice(records, warmup + steps))[warmup:])
    result = {"trained_per_second": run.batch_size / statistics.median(seconds)}
    if device.type == "cuda":
        result["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if not run.compile:  # the counter sees eager operations
            with FlopCounterMode(display=False) as counter:
                next(records)
            result["tflop_of_an_update"] = counter.get_total_flops() / 1e12
    return result


@torch.no_grad()
def sampling(
    run: DiffusionRun, state: DiffusionState, shape: tuple[int, int, int], device: torch.device
) -> dict[str, float]:
    """Latents a second by DPM-Solver++, 25 steps, no guidance."""
    path, n = path_of(run), run.batch_size
    noise = SampleNoise(0, range(n))
    predict = guided(state.denoiser.eval(), torch.zeros(n, dtype=torch.int64, device=device))

    def draw() -> float:
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"):
            found = SAMPLERS[SAMPLER](predict, path, noise.start(shape).to(device), time_grid(path, SAMPLER_STEPS))
        float(found.sum())  # waits for the device
        return time.perf_counter() - started

    draw()
    return {"sampled_per_second": n / statistics.median(draw() for _ in range(3))}


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    document: dict[str, object] = {"machine": describe(), "sampler": SAMPLER}
    document["evaluations"] = evaluations(SAMPLER, SAMPLER_STEPS)
    rows: dict[str, dict[str, float]] = {}
    for name, run, shape, n_classes in cases():
        state = build_diffusion_state(run, shape, n_classes, accelerator.device)
        row = rows[name] = training(run, state, shape, accelerator, arguments.steps)
        row |= sampling(run, state, shape, accelerator.device)
        print(f"{name:<24}" + "  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    document["cases"] = rows
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
