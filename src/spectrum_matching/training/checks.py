"""What must hold of a run before any work is done for it."""

import importlib.util
import math
from typing import Any

import torch

from ..metrics.images.pixels import SSIM_WINDOW
from ..nets.vision.encoders import VisionEncoder
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun
from .train_autoencoder import TrainingState

SMALLEST_LPIPS = 16
AT_LEAST_ONE = (
    *("steps", "batch_size", "accumulation", "max_bad_steps", "cadence.checkpoint", "data.size"),
    *("adversary.width", "adversary.depth"),
)
NOT_NEGATIVE = (
    *("losses.l1", "losses.l2", "losses.perceptual", "adversary.weight", "adversary.start"),
    *("optimizer.lr", "optimizer.clip", "optimizer.warmup", "cadence.log", "cadence.preview", "cadence.keep_every"),
    "data.workers",
)


def check(run: AutoencoderRun) -> None:
    """ValueError naming the first of the run's numbers that makes no sense; its method is `check_method`'s."""
    check_numbers(run, AT_LEAST_ONE, NOT_NEGATIVE)
    if not run.losses.l1 and not run.losses.l2 and not run.losses.perceptual:
        raise ValueError("losses.l1, losses.l2 and losses.perceptual are all 0: nothing would be reconstructed")
    if not 0 < run.data.held_out < 1:
        raise ValueError(
            f"data.held_out must lie between 0 and 1, got {run.data.held_out}: previews and final numbers need images "
            f"that training never sees"
        )


def check_method(run: AutoencoderRun, device: torch.device | str = "cpu") -> VisionEncoder | None:
    """The vision encoder of the run's method, if it takes one; ValueError for a method that this run cannot have."""
    vision = run.method.open_vision(device)
    if vision is not None:
        vision.grid(run.data.size)
    method = run.method.build(vision)
    for term in method.terms:
        if not 0 <= term.weight < math.inf:
            raise ValueError(f"the weight of {term.name} must be finite and not negative, got {term.weight}")
    idle = [term.name for term in method.terms if term.weight]
    if run.network.train == "decoder" and idle:
        raise ValueError(
            f"method {method.name} has a loss on the latents ({', '.join(idle)}), which training the decoder alone "
            f"cannot move; set its weight to 0 or network.train to all"
        )
    return vision


def check_numbers(run: Any, at_least_one: tuple[str, ...], not_negative: tuple[str, ...]) -> None:
    """ValueError naming the first of these dotted keys, or of optimizer and trackers, whose value makes no sense."""
    for key in at_least_one:
        if _value(run, key) < 1:
            raise ValueError(f"{key} must be at least 1, got {_value(run, key)}")
    for key in not_negative:
        if not 0 <= _value(run, key) < math.inf:
            raise ValueError(f"{key} must be finite and not negative, got {_value(run, key)}")
    if not all(0 <= beta < 1 for beta in run.optimizer.betas):
        raise ValueError(f"optimizer.betas must lie in [0, 1), got {run.optimizer.betas}")
    if not 0 <= run.optimizer.ema < 1:
        raise ValueError(f"optimizer.ema must lie in [0, 1), got {run.optimizer.ema}")
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ValueError(f"trackers: {tracker} is not installed; pip install 'spectrum-matching[track]'")


def check_batch(run: Any, n_processes: int) -> None:
    """ValueError unless every process and micro-batch has equally many images."""
    if run.batch_size % (run.accumulation * n_processes):
        raise ValueError(
            f"batch_size is {run.batch_size}, expected a multiple of accumulation ({run.accumulation}) "
            f"times processes ({n_processes})"
        )


def check_grid(run: AutoencoderRun, state: TrainingState) -> None:
    """ValueError if images of this size do not fit the autoencoder, the method or the critic."""
    size, factor, method = run.data.size, state.autoencoder.factor, state.reconstructor.method
    if size % factor:
        raise ValueError(f"data.size is {size}, expected a multiple of the autoencoder's factor {factor}")
    if size < SSIM_WINDOW:
        raise ValueError(f"data.size is {size}, expected at least {SSIM_WINDOW}, the window of SSIM")
    cells = torch.empty(1, 1, size // factor, size // factor)
    generator = seeded("check")
    # Moves may shrink the images; so many draws meet the smallest.
    moves = [method.shared.draw(generator, (size // factor, size // factor)) for _ in range(256)]
    smallest = factor * min(min(move(cells).shape[-2:]) for move in set(moves))
    if state.critic is not None and smallest < state.critic.smallest:
        raise ValueError(
            f"the critic needs images of {state.critic.smallest} pixels and method {method.name} gives it {smallest}; "
            f"raise data.size ({size}) or lower adversary.depth ({run.adversary.depth})"
        )
    if run.losses.perceptual and smallest < SMALLEST_LPIPS:
        raise ValueError(
            f"losses.perceptual needs images of {SMALLEST_LPIPS} pixels and method {method.name} gives it {smallest}; "
            f"raise data.size ({size})"
        )


def _value(run: AutoencoderRun, key: str) -> Any:
    value: Any = run
    for name in key.split("."):
        value = getattr(value, name)
    return value
