"""What a plan costs before it runs: operations, hours of one H200, memory and disk, counted on paper."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..diffusion import evaluation_times, guided_evaluations, time_grid
from ..latents.latent_set import LatentInfo
from ..latents.write_cache import bytes_of_one
from ..metrics.catalogue import GENERATIVE_METRICS
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import build_denoiser
from ..nets.discriminator import PatchDiscriminator
from ..nets.precision import HALF
from ..nets.vision.perceptual import LPIPS, shapes_of_weights
from ..records.comparison import Stage
from ..training.autoencoder_config import AutoencoderRun, Optimizer
from ..training.diffusion_config import DiffusionRun
from ..training.run_directory import kept_steps
from ..training.train_diffusion import path_of
from .memory import kept_for_backward
from .plans import Plan

PEAK = 989e12  # bf16 without sparsity, NVIDIA's data sheet of the H200
SHARE = {"autoencoder": 0.25, "diffusion": 0.40}  # assumed: convolutions reach less of it than matrix products
BACKWARD = 3  # forward and backward, in forwards
JUDGED = {"perceptual": 1.5, "discriminator": 8}
"""What an update costs of the networks that judge reconstructions, in forwards.

LPIPS, frozen, runs backward to one of the two images that its forward compares. The discriminator runs forward and
backward for the autoencoder, frozen (2), and for itself on two batches (6).
"""


@dataclass(frozen=True)
class Cost:
    """Costs of one trial of a plan.

    operations: floating-point operations of one image, encoded, decoded and denoised. hours: of one H200, by stage.
    memory: bytes that training holds at once in a process, by stage: weights, gradients, AdamW's moments, averages, and
    what the backward pass of a micro-batch keeps, with the larger of discriminator and perceptual network; without what
    kernels need for themselves, what the allocator cannot use, and the second pair of a method that adds one. latents:
    bytes that the cache takes for each image. disk: bytes that a trial leaves, by stage: weights with the checkpoints
    that are kept, and samples; without the cache.
    """

    operations: dict[str, int]
    hours: dict[str, float]
    memory: dict[str, float]
    latents: int
    disk: dict[str, float]


def cost_of(plan: Plan, n_processes: int = 1) -> Cost | None:
    """Return what a trial of a plan costs; None for a pretrained autoencoder, which would have to be opened.

    n_processes: among which each batch is divided.

    Analysis, caching, features and scoring are not among the hours, nor the fits of models without training; a
    discriminator counts from the first step; labels are not among the weights.
    """
    run, diffusion = plan.autoencoder, plan.diffusion
    if run.network.pretrained is not None:
        return None
    with torch.device("meta"):
        autoencoder = Autoencoder.from_preset(run.network.preset)
    autoencoder.model.to("meta")
    side = run.data.size // autoencoder.factor
    shape = autoencoder.channels, side, side
    changes = diffusion.denoiser.changes
    denoiser = build_denoiser(diffusion.denoiser.name, shape[0], shape[1:], device="meta", **changes).to("meta")
    images, latents = (torch.empty(1, *s, device="meta") for s in ((3, run.data.size, run.data.size), shape))
    t = torch.zeros(1, device="meta")

    def encode() -> Tensor:
        return autoencoder.model.encode(images).latent_dist.mean

    def decode() -> Tensor:
        return autoencoder.model.decode(latents).sample

    def denoise() -> Tensor:
        prediction: Tensor = denoiser(latents, t, None)[0]
        return prediction

    operations = {call.__name__: count(call) for call in (encode, decode, denoise)}
    a_pass = operations["encode"] + operations["decode"]
    choice = plan.sampling
    grid = time_grid(path_of(diffusion), choice.steps, choice.shift, choice.last_step, choice.end)
    times = evaluation_times(choice.sampler, grid, choice.guidance_by == "step")
    calls = guided_evaluations(times, choice.guidance, choice.guidance_interval)
    judges = _judges(run, images)
    judged = sum(JUDGED[name] * count(call) for name, call in judges.items())
    trained = run.steps * run.batch_size * (a_pass * BACKWARD + judged)
    denoised = diffusion.steps * diffusion.batch_size * operations["denoise"] * BACKWARD
    sampled = calls * operations["denoise"] / SHARE["diffusion"] + operations["decode"] / SHARE["autoencoder"]
    spent = {
        "autoencoder": trained / SHARE["autoencoder"],
        "diffusion": denoised / SHARE["diffusion"],
        "samples": plan.measuring.samples * sampled,
    }
    if (measuring := plan.measuring).features:
        n = sum(measuring.reconstructions if each.is_paired else measuring.samples for each in GENERATIVE_METRICS)
        counted = measuring.reconstructions * a_pass + n * operations["decode"]
        spent["generative"] = counted / SHARE["autoencoder"]
    half = run.precision in HALF
    beside_it = [kept_for_backward(call, half=half) for call in judges.values()]
    kept = {
        "autoencoder": sum(kept_for_backward(call, half=half) for call in (encode, decode)) + max(beside_it, default=0),
        "diffusion": kept_for_backward(denoise, half=diffusion.precision in HALF),
    }
    networks: dict[str, tuple[nn.Module, AutoencoderRun | DiffusionRun]]
    networks = {"autoencoder": (autoencoder, run), "diffusion": (denoiser, diffusion)}
    memory, disk = dict[str, float](), dict[str, float]()
    disk["samples"] = plan.measuring.samples * 3 * run.data.size**2
    for name, (network, training) in networks.items():
        n_bytes, micro_batch = weight_bytes(network), training.batch_size / (training.accumulation * n_processes)
        n_copies = copies(training.optimizer, 4) + (0.5 if training.precision in HALF else 0)
        memory[name] = n_bytes * n_copies + micro_batch * kept[name]
        disk[name] = n_bytes * (1 + n_checkpoints(training) * copies(training.optimizer, 3))
    stored = bytes_of_one(LatentInfo(channels=shape[0], grid=shape[1:], flips=diffusion.source.flip), plan.cache)
    hours = {stage: flops / PEAK / 3600 for stage, flops in spent.items()}
    return Cost(operations, hours, memory, stored, disk)


def total(values: Mapping[str, float], stages: Iterable[tuple[Path, Stage]]) -> float:
    """Return the sum over stages, such as `planned_stages` returns, of what each takes by its name."""
    return math.fsum(values.get(name, 0.0) for _, name in stages)


def n_checkpoints(run: AutoencoderRun | DiffusionRun) -> int:
    """Return how many checkpoints a training leaves at its end."""
    intervals = run.intervals
    written = [*range(intervals.checkpoint, run.steps, intervals.checkpoint), run.steps]
    return len(kept_steps(written, intervals.keep_last, intervals.keep_every))


def _judges(run: AutoencoderRun, images: Tensor) -> dict[str, Callable[[], Any]]:
    """Return the calls of the networks that judge reconstructions; each is run backward before the next is called."""
    output, judges = images.clone().requires_grad_(), dict[str, Callable[[], Any]]()
    if run.losses.perceptual:
        lpips = LPIPS({name: torch.empty(shape, device="meta") for name, shape in shapes_of_weights().items()})
        judges["perceptual"] = partial(lpips.to("meta"), output, images)
    if run.discriminator.weight:
        choice = run.discriminator
        judges["discriminator"] = partial(PatchDiscriminator(3, choice.width, choice.depth).to("meta"), output)
    return judges


def count(call: Callable[[], Any]) -> int:
    """Count the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's weights."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def copies(options: Optimizer, n: int) -> int:
    """Return how many times training keeps the weights: `n`, and one more with averages."""
    return n + bool(options.ema)
