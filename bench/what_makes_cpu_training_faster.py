"""What makes training on a CPU faster, and does it change the numbers?

    python bench/what_makes_cpu_training_faster.py [--rounds 3] [--steps 30] [--json FILE]

One thread trains the denoiser and the autoencoder of the plan cifar10 on random numbers, each case in a process of its
own, in turns: as the plan has it, compiled, and with matrix products in AVX-512. MKL, which PyTorch calls for float32
products, uses AVX2 on processors of other makers than Intel; a preloaded library of one function, by which MKL asks for
the maker, lifts that, and needs a C compiler. Ratios are of neighbours, in CPU time of a step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import torch

from clock import seconds
from machine import describe  # the file beside this one
from spectrum_matching.comparison.plans import PLANS
from spectrum_matching.data.images import ImageBatch
from spectrum_matching.processes import open_accelerator
from spectrum_matching.training.autoencoder_config import Intervals
from spectrum_matching.training.diffusion_data import DiffusionBatch
from spectrum_matching.training.optimization import StepRecord
from spectrum_matching.training.train_autoencoder import build_state, open_autoencoder, train_autoencoder
from spectrum_matching.training.train_diffusion import build_diffusion_state, train_diffusion

SHIM = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
CASES = {"compiled": (True, False), "AVX-512": (False, True)}
"""Name: compiled, with AVX-512. Each is compared with neither."""
WARM = 10


def denoiser(compiled: bool) -> Iterator[StepRecord]:
    """Train the plan's denoiser on one batch of random latents."""
    run = replace(PLANS["cifar10"]().diffusion, compile=compiled, intervals=Intervals(log=0))
    accelerator, generator = open_accelerator(), torch.Generator().manual_seed(0)
    data = torch.randn(run.batch_size, 8, 8, 8, generator=generator)
    labels = torch.randint(10, (run.batch_size,), generator=generator)
    state = build_diffusion_state(run, (8, 8, 8), 10, accelerator.device)
    return train_diffusion(run, state, repeat(DiffusionBatch(data, labels, ())), accelerator)


def autoencoder(compiled: bool) -> Iterator[StepRecord]:
    """Train the plan's autoencoder on one batch of random images."""
    run = replace(PLANS["cifar10"]().autoencoder, compile=compiled, intervals=Intervals(log=0))
    accelerator, generator = open_accelerator(), torch.Generator().manual_seed(0)
    images = torch.rand(run.batch_size, 3, run.data.size, run.data.size, generator=generator) * 2 - 1
    state = build_state(run, open_autoencoder(run), run.method.build(), accelerator.device)
    batches = repeat(ImageBatch(images, torch.zeros(run.batch_size, dtype=torch.int64), ()))
    return train_autoencoder(run, state, batches, accelerator)


NETWORKS = {"denoiser": denoiser, "autoencoder": autoencoder}


def child(network: str, compiled: bool, steps: int) -> dict[str, float]:
    """Train; return seconds of a step, median after the first ones, and of the first; last loss and gradient norm."""
    records, taken, found = NETWORKS[network](compiled), [], []
    for _ in range(WARM + steps):
        taken.append(seconds(lambda: found.append(next(records))).work)
    loss = float(sum(value for value in found[-1].losses.values()))
    numbers = {"loss": loss, "norm": found[-1].gradient_norm}
    return {"step": statistics.median(taken[WARM:]), "first": taken[0], **numbers}


def measure(network: str, compiled: bool, avx512: bool, steps: int, shim: Path) -> dict[str, float]:
    """Run one case in a process of its own."""
    preload = {"LD_PRELOAD": str(shim)} if avx512 else {}
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"} | preload
    arguments = [__file__, "--child", network, "--steps", str(steps), *(["--compiled"] if compiled else [])]
    ran = subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    """Time every case in turns, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--child", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.compiled, arguments.steps)))
        return
    document: dict[str, object] = {"machine": describe(), "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as folder:
        source, shim = Path(folder, "shim.c"), Path(folder, "shim.so")
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", shim], check=True)
        for network in NETWORKS:
            rows: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
            for _ in range(arguments.rounds):
                for name, (compiled, avx512) in CASES.items():
                    plain = measure(network, False, False, arguments.steps, shim)
                    case = measure(network, compiled, avx512, arguments.steps, shim)
                    changed = {f"{key}_changed": abs(case[key] / plain[key] - 1) for key in ("loss", "norm")}
                    rows[name].append(case | changed | {"faster": plain["step"] / case["step"], "plain": plain["step"]})
            document[network] = {
                name: {key: statistics.median(row[key] for row in found) for key in found[0]}
                for name, found in rows.items()
            }
            print(network, json.dumps(document[network], indent=1), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
