"""What a plan costs before it runs: operations, hours of one H200, memory and disk, counted on paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..diffusion import evaluation_times, guided_evaluations, time_grid
from ..metrics.catalogue import GENERATIVE_METRICS
from ..nets.autoencoder import Autoencoder
from ..nets.denoiser.build import build_denoiser
from ..training.autoencoder_config import AutoencoderRun, Optimizer
from ..training.diffusion_config import DiffusionRun
from ..training.train_diffusion import path_of
from .plans import Plan

PEAK = 989e12  # bf16 without sparsity, NVIDIA's data sheet of the H200
SHARE = {"autoencoder": 0.25, "diffusion": 0.40}  # assumed: convolutions reach less of it than matrix products
BACKWARD = 3  # forward and backward, in forwards
DISCRIMINATOR = 1.2  # assumed: perceptual network and discriminator beside the autoencoder
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Cost:
    """Costs of one trial of a plan.

    operations: floating-point operations of one image, encoded, decoded and denoised. hours: of one H200, by stage.
    memory: bytes that training holds at once, by stage, roughly: weights, gradients, AdamW's moments, averages, and
    what the backward pass of a micro-batch keeps, half of it in bf16; without discriminator and perceptual network, and
    as if attention kept its matrices, which fused kernels do not. latents: bytes that the cache
    takes for each image. disk: bytes of a trial's weights, checkpoints and samples, without the cache.
    """

    operations: dict[str, int]
    hours: dict[str, float]
    memory: dict[str, float]
    latents: int
    disk: int


def cost_of(plan: Plan) -> Cost | None:
    """Return what a trial of a plan costs; None for a pretrained autoencoder, which would have to be opened.

    Analysis, caching, features and scoring are not among the hours, nor the fits of models without training; labels are
    not among the weights.
    """
    run, diffusion = plan.autoencoder, plan.diffusion
    if run.network.pretrained is not None:
        return None
    with torch.device("meta"):
        autoencoder = Autoencoder.from_preset(run.network.preset)
    autoencoder.model.to("meta")
    side = run.data.size // autoencoder.factor
    shape = autoencoder.channels, side, side
    denoiser = build_denoiser(diffusion.denoiser.name, shape[0], shape[1:], **diffusion.denoiser.changes)
    denoiser = denoiser.to("meta")
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
    times = evaluation_times(choice.sampler, time_grid(path_of(diffusion), choice.steps), choice.guidance_by == "step")
    calls = guided_evaluations(times, choice.guidance, choice.guidance_interval)
    beside = DISCRIMINATOR if run.discriminator.weight else 1.0
    trained = run.steps * run.batch_size * a_pass * BACKWARD * beside
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
    kept = {
        "autoencoder": kept_for_backward(encode) + kept_for_backward(decode),
        "diffusion": kept_for_backward(denoise),
    }
    networks: dict[str, tuple[nn.Module, AutoencoderRun | DiffusionRun]]
    networks = {"autoencoder": (autoencoder, run), "diffusion": (denoiser, diffusion)}
    memory, disk = {}, plan.measuring.samples * 3 * run.data.size**2
    for name, (network, training) in networks.items():
        n_bytes, micro_batch = weight_bytes(network), training.batch_size // training.accumulation
        half = 2 if training.precision == "bf16" else 1
        memory[name] = n_bytes * copies(training.optimizer, 4) + micro_batch * kept[name] / half
        disk += n_bytes * (1 + training.intervals.keep_last * copies(training.optimizer, 3))
    flips = 2 if diffusion.source.flip else 1
    stored = 2 * latents[0].numel() * BYTES[plan.cache] * flips  # means and variances
    hours = {stage: flops / PEAK / 3600 for stage, flops in spent.items()}
    return Cost(operations, hours, memory, stored, disk)


def hours_of_plan(plan: Plan, cost: Cost) -> float:
    """Return the hours of all trials of a plan, of which those of one autoencoder share it."""
    n_autoencoders = len({entry.method for entry in plan.entries.values()})
    shared = cost.hours["autoencoder"] + cost.hours.get("generative", 0.0)
    each = cost.hours["diffusion"] + cost.hours["samples"]
    return len(plan.seeds) * (n_autoencoders * shared + len(plan.entries) * each)


def count(call: Callable[[], Any]) -> int:
    """Count the floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def kept_for_backward(call: Callable[[], Any]) -> int:
    """Return the bytes that a call keeps for its backward pass, beside weights."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor  # holding it, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's weights."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def copies(options: Optimizer, n: int) -> int:
    """Return how many times training keeps the weights: `n`, and one more with averages."""
    return n + bool(options.ema)
