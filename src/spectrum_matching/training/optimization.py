"""One update of any training: its record, optimizer and averaged weights, and what to do where it is not finite."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..data.images import BadFile
from .autoencoder_config import Optimizer


class StepRecord(NamedTuple):
    """One update.

    losses: detached means over its micro-batches. transform: of the last of them, in words. data_time: seconds
    spent waiting for data.
    """

    step: int
    losses: dict[str, Tensor]
    transform: str
    lr: float
    gradient_norm: float
    skipped: bool
    seconds: float
    data_time: float
    bad_files: tuple[BadFile, ...]


class DivergedError(ValueError):
    """Too many steps in a row were not finite."""


def diverged(n_steps: int, losses: dict[str, Tensor]) -> DivergedError:
    """The error that names the losses of the last of `n_steps` which were not finite, and the remedy."""
    culprits = [name for name, value in losses.items() if not value.isfinite()] or ["the gradient"]
    return DivergedError(
        f"{n_steps} steps in a row were not finite ({', '.join(culprits)}); "
        f"lower optimizer.lr or use precision fp32, then run again to resume from the last checkpoint"
    )


def finite_everywhere(finite: Tensor, accelerator: Accelerator) -> bool:
    """Whether a step was finite in all processes: they must agree, whoever saw the bad number."""
    if accelerator.num_processes > 1:
        finite = accelerator.reduce(finite.float(), "mean") == 1
    return bool(finite)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float, step: int, warmup: int) -> float:
    """Linear warm-up over `warmup` updates, then constant."""
    current = lr * min(1.0, (step + 1) / max(warmup, 1))
    for group in optimizer.param_groups:
        group["lr"] = current
    return current


def adamw(net: nn.Module, options: Optimizer, lr: float | None = None) -> torch.optim.Optimizer:
    """Over the parameters of `net` that are trained; `lr` where it differs from the options'."""
    moved = [p for p in net.parameters() if p.requires_grad]
    rate = options.lr if lr is None else lr
    return torch.optim.AdamW(moved, lr=rate, betas=options.betas, weight_decay=options.weight_decay, fused=True)


@contextmanager
def ema_weights(ema: EMAModel | None, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within the block the parameters are their averages, if such are kept."""
    if ema is None:
        yield
        return
    parameters = list(parameters)
    ema.store(parameters)
    ema.copy_to(parameters)
    try:
        yield
    finally:
        ema.restore(parameters)
