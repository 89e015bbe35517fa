"""What does one GPU do: the CPU's numbers, and how fast is each stage at the paper's sizes?

    python bench/what_does_a_gpu_do.py [--json FILE] [--minutes 7.5] [--toy]

Rows in order of need, each saved as it ends. When the minutes are over the row that runs is stopped, and those that
follow are left out; a row that fails says why. Losses, gradients of a training step, and samples on the GPU against the
CPU in float32, without TF32; images a second, peak memory and the share of the card's own bf16 matrix product rate of
training f16d16 and f8d4 autoencoders at 256 × 256, plain, with LPIPS, and with LPIPS and discriminator, eager and
compiled; SiT-B/2 and SiT-XL/2 on f8d4 latents; sampling, encoding, caching and `analyze`, with the precision that users
get: float32 whose convolutions may be TF32. Images, latents and the weights of LPIPS are random numbers; reading is not
measured. --toy: tiny sizes, on any device and nothing compiled, to rehearse.
"""

import argparse
import gc
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from how_fast_is_diffusion import sampling, training  # files beside this one
from how_fast_is_training import measure
from machine import describe
from spectrum_matching import methods
from spectrum_matching.analysis.measure import analyze
from spectrum_matching.diffusion import SAMPLERS, SampleNoise, Times, diffusion_loss, guided, time_grid
from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.files.atomic import write_text_atomically
from spectrum_matching.latents.encode import autoencoder_encoder
from spectrum_matching.latents.write_cache import CacheJob, JobBatch, Storage, write_cache
from spectrum_matching.methods.method import reconstruct
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.nets.vision.perceptual import LPIPS, shapes_of_weights
from spectrum_matching.seeding import seeded
from spectrum_matching.training.autoencoder_config import (
    AutoencoderRun,
    Data,
    DiscriminatorChoice,
    Losses,
    Network,
    tiny,
)
from spectrum_matching.training.diffusion_config import DenoiserChoice, DiffusionRun
from spectrum_matching.training.train_diffusion import build_diffusion_state

Row = dict[str, float]
ZOO = {
    "ESM": methods.zoo.esm,
    "ESM, paper": partial(methods.zoo.esm, variant="paper"),
    "DSM": methods.zoo.dsm,
    "Scale Equivariance": methods.zoo.scale_equivariance,
    "EQ-VAE": methods.zoo.eq_vae,
}
LARGEST = 1e-3
"""Relative difference of the GPU from the CPU that passes for rounding in float32."""


@cache
def random_lpips(device: torch.device) -> LPIPS:
    """Return LPIPS with random weights, as fast as the published ones."""
    generator = seeded("random LPIPS")
    weights = {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes_of_weights().items()}
    return LPIPS(weights).to(device)


def bf16_peak(device: torch.device, n: int) -> float:
    """Return TFLOP/s of a large bf16 matrix product."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    wait(device)
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    wait(device)
    return 20 * 2 * n**3 / (time.perf_counter() - started) / 1e12


def wait(device: torch.device) -> None:
    """Wait for what the device still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of the norm expected."""
    expected = expected.detach().cpu().double()
    return float((found.detach().cpu().double() - expected).norm() / expected.norm().clamp_min(1e-30))


def correctness(device: torch.device, size: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Rows of relative differences between the device and the CPU, in float32."""
    images = torch.rand(4, 3, size, size, generator=seeded("images")) * 2 - 1

    def step(make: Callable[[], methods.Method], on: torch.device) -> tuple[Tensor, Tensor]:
        autoencoder = Autoencoder.from_preset("tiny", seed=0).to(on)
        method = make()
        result = reconstruct(autoencoder, method, images.to(on), seeded("step"), True)
        loss = (result.output - result.target).abs().mean()
        loss = loss + method.weigh(method.encoding_losses(result.posterior, result.latents, result.images), {})
        if result.added is not None:
            loss = loss + (result.added.output - result.added.target).abs().mean()
        loss.backward()
        return loss, torch.cat([p.grad.flatten() for p in autoencoder.parameters() if p.grad is not None])

    cpu = torch.device("cpu")

    def checked(**pairs: tuple[Tensor, Tensor]) -> Row:
        row = {name: relative(*pair) for name, pair in pairs.items()}
        if (worst := max(row.values())) > LARGEST:
            raise ValueError(f"differs from the CPU by {worst:.2g} of its size, expected at most {LARGEST}: {row}")
        return row

    def compared(make: Callable[[], methods.Method]) -> Row:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            (loss, gradient), (expected, expected_gradient) = (step(make, on) for on in (device, cpu))
        return checked(loss=(loss, expected), gradient=(gradient, expected_gradient))

    for name, make in ZOO.items():
        yield f"a step of {name}", partial(compared, make)

    def denoiser(on: torch.device) -> nn.Module:
        net = build_denoiser("SiT-micro/2", 4, (8, 8), 10, 0)
        for parameter in net.parameters():  # its last layer is 0 at first
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=seeded("weights", parameter.numel()))
        return net.to(on)

    def diffused(on: torch.device) -> Tensor:
        data, labels = torch.randn(16, 4, 8, 8, generator=seeded("latents")).to(on), torch.arange(16, device=on) % 10
        path, times = DiffusionPath("linear", "velocity"), Times("uniform")
        loss = diffusion_loss(denoiser(on), path, data, labels, times=times, generator=seeded("noise"))
        return loss.total

    @torch.no_grad()
    def sampled(on: torch.device, sampler: str) -> Tensor:
        path, noise = DiffusionPath("linear", "velocity"), SampleNoise(0, range(16))
        predict = guided(denoiser(on), torch.arange(16, device=on) % 10)
        grid, shape = time_grid(path, 10), (4, 8, 8)
        return SAMPLERS[sampler](
            predict, path, noise.start(shape).to(on), grid, lambda step: noise.at(step, shape).to(on)
        )

    yield "diffusion loss", lambda: checked(loss=(diffused(device), diffused(cpu)))
    for sampler in ("euler", "dpm_solver", "euler_maruyama"):
        yield (
            f"samples by {sampler}",
            partial(lambda name: checked(samples=(sampled(device, name), sampled(cpu, name))), sampler),
        )


def autoencoders(
    accelerator: Accelerator, toy: bool, steps: int, rows: dict[str, Row]
) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Rows of training autoencoders."""
    losses = Losses(perceptual=0.5, perceptual_weights="random")
    parts = {"plain": (Losses(), 0.0), "LPIPS": (losses, 0.0), "LPIPS and discriminator": (losses, 0.5)}

    def row(run: AutoencoderRun, eager: str) -> Row:
        perceptual = random_lpips(accelerator.device) if run.losses.perceptual else None
        found = measure(run, accelerator, 5, steps, perceptual)
        if "tflop_per_image" in (operations := found if not run.compile else rows.get(eager, {})):
            found["tflops"] = found["images_per_second"] * operations["tflop_per_image"]
        return found

    for compiled in (False, True):
        for preset in ("tiny",) if toy else ("f16d16", "f8d4"):
            for name, (weights, discriminator) in parts.items():
                if compiled and name == "LPIPS":
                    continue
                run = replace(
                    tiny("esm_dsm"),
                    batch_size=4 if toy else 32,
                    precision="bf16",
                    compile=compiled,
                    channels_last=True,
                    data=Data(size=32 if toy else 256),
                    network=Network(preset=preset),
                    losses=weights,
                    discriminator=DiscriminatorChoice(weight=discriminator),
                )
                eager = f"train {preset}, {name}, eager"
                yield eager.replace("eager", "compiled") if compiled else eager, partial(row, run, eager)


def denoisers(
    accelerator: Accelerator, toy: bool, steps: int, rows: dict[str, Row]
) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Rows of training SiT and of sampling it; of SiT-XL/2, 64 latents at a time are what 80 GB hold."""
    shape = (4, 8, 8) if toy else (4, 32, 32)

    def sampled(run: DiffusionRun) -> Row:
        return sampling(run, build_diffusion_state(run, shape, 1000, accelerator.device), shape, accelerator.device)

    def row(run: DiffusionRun, eager: str) -> Row:
        state = build_diffusion_state(run, shape, 1000, accelerator.device)
        found = training(run, state, shape, accelerator, steps) | {"batch_size": run.batch_size}
        if "tflop_of_an_update" in (operations := found if not run.compile else rows.get(eager, {})):
            found["tflops"] = found["trained_per_second"] / run.batch_size * operations["tflop_of_an_update"]
        return found

    for compiled in (False, True):
        for name in ("SiT-micro/2",) if toy else ("SiT-B/2", "SiT-XL/2"):
            n = 8 if toy else 64 if name == "SiT-XL/2" else 256
            run = DiffusionRun(batch_size=n, precision="bf16", compile=compiled, denoiser=DenoiserChoice(name))
            if not compiled:
                yield f"sample {name}", partial(sampled, replace(run, batch_size=8 if toy else 64))
            eager = f"train {name}, eager"
            yield eager.replace("eager", "compiled") if compiled else eager, partial(row, run, eager)


def whole(accelerator: Accelerator, toy: bool) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Rows of encoding, of caching (without reading images), and of `analyze`."""
    n, size = (8, 64) if toy else (256, 256)
    presets, device = ("tiny",) if toy else ("f16d16", "f8d4"), accelerator.device

    @torch.no_grad()
    def encoded(preset: str) -> Row:
        autoencoder = Autoencoder.from_preset(preset, seed=0).to(device).eval()
        images = torch.rand(min(n, 64), 3, size, size, generator=seeded("images")).to(device) * 2 - 1
        autoencoder.encode(images)
        wait(device)
        started = time.perf_counter()
        for _ in range(3):
            autoencoder.encode(images)
        wait(device)
        return {"encoded_per_second": 3 * len(images) / (time.perf_counter() - started)}

    def cached(preset: str) -> Row:
        autoencoder = Autoencoder.from_preset(preset, seed=0).to(device)
        encoder = autoencoder_encoder(preset, autoencoder, size, device)
        images = torch.rand(n, 3, size, size, generator=seeded("images")) * 2 - 1

        def batches(number: int, items: range) -> Iterator[JobBatch]:
            with encoder.running(number):
                for rows in torch.tensor(items).split(16):
                    moments, places = encoder.encode(images[rows].to(device)), rows.tolist()
                    yield JobBatch(moments, places, list(map(str, places)), torch.full((len(rows),), -1))

        job = CacheJob(Storage("float16", flips=False).index(encoder.info, encoder.digest), n, batches)
        with TemporaryDirectory() as folder:
            started = time.perf_counter()
            write_cache(job, Path(folder) / "latents", accelerator)
            return {"cached_per_second": n / (time.perf_counter() - started)}

    def analyzed(preset: str) -> Row:
        autoencoder = Autoencoder.from_preset(preset, seed=0).to(device)
        images = torch.rand(n, 3, size, size, generator=seeded("images")) * 2 - 1
        started = time.perf_counter()
        analyze(autoencoder, images, n_tests=4 if toy else 50)
        return {"images": n, "seconds": time.perf_counter() - started}

    for preset in presets:
        yield f"encode, {preset}", partial(encoded, preset)
        yield f"cache, {preset}", partial(cached, preset)
        yield f"analyze, {preset}", partial(analyzed, preset)


@contextmanager
def alarm(end: float) -> Iterator[None]:
    """Raise TimeoutError in the block when the clock (`time.monotonic`) reaches `end`."""

    def stop(*_: object) -> None:
        raise TimeoutError("the minutes were over")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, end - time.monotonic()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def begin_row(accelerator: Accelerator) -> None:
    """Free what earlier rows left on the device."""
    accelerator.free_memory()
    gc.collect()
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Measure every row that the time allows; print and save each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--toy", action="store_true")
    arguments = parser.parse_args()
    accelerator = Accelerator(mixed_precision="no")
    device, toy, steps = accelerator.device, arguments.toy, 2 if arguments.toy else 10
    if device.type != "cuda" and not toy:
        parser.error("there is no GPU: --toy rehearses on the CPU")
    end = time.monotonic() + 60 * arguments.minutes
    document: dict[str, Any] = {"machine": describe(), "toy": toy, "rows": {}, "failed": {}, "left_out": []}
    rows: dict[str, Row] = document["rows"]

    def peak() -> Row:
        return {"tflops": bf16_peak(device, 256 if toy else 8192)}

    table = [("bf16 matrix product", peak), *correctness(device, 32 if toy else 64)]
    trained = [*autoencoders(accelerator, toy, steps, rows), *denoisers(accelerator, toy, steps, rows)]
    # Compiling takes most of the time and comes last.
    table += [each for each in trained if "compiled" not in each[0]] + [*whole(accelerator, toy)]
    table += [each for each in trained if "compiled" in each[0] and not toy]
    for name, work in table:
        if time.monotonic() > end:
            document["left_out"].append(name)
            continue
        try:
            with alarm(end):
                begin_row(accelerator)
                row = work()
            if device.type == "cuda":
                row.setdefault("peak_memory_gib", torch.cuda.max_memory_allocated() / 2**30)
            best = rows.get("bf16 matrix product", row)
            if "tflops" in row and best is not row:
                row["share_of_peak"] = row["tflops"] / best["tflops"]
            rows[name] = row
            print(f"{name:<46}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
        except Exception as error:  # of any kind: the rows that follow are worth as much
            document["failed"][name] = f"{type(error).__name__}: {error}".partition("\n")[0]
            print(f"{name:<46} failed: {document['failed'][name]}", flush=True)
        if arguments.json:
            write_text_atomically(arguments.json, json.dumps(document, indent=1) + "\n")
    if arguments.json:
        write_text_atomically(arguments.json, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
