"""The loop of updates that both trainers share: gradients, their norm, optimizers and averaged weights."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..data.walk import BadFile
from ..files.os_errors import is_out_of_memory
from ..seeding import seeded
from .autoencoder_config import AutoencoderRun, Optimizer
from .diffusion_config import DiffusionRun

if TYPE_CHECKING:
    from diffusers.training_utils import EMAModel

Run = AutoencoderRun | DiffusionRun


class StepRecord(NamedTuple):
    """Record of one update.

    losses: detached means over its micro-batches. transform: the one sampled for the last of them, in words. seconds:
    those of the update, of which data_time were spent waiting for data. loss_scale: of fp16, otherwise 1.
    """

    step: int
    losses: dict[str, Tensor]
    transform: str
    lr: float
    gradient_norm: float
    skipped: bool
    seconds: float
    data_time: float
    bad_files: tuple[BadFile, ...] = ()
    loss_scale: float = 1.0


class DivergedError(ValueError):
    """Too many steps in a row were not finite."""


class TooLargeError(ValueError):
    """A micro-batch does not fit the memory of the device."""


@dataclass(kw_only=True)
class TrainingState:
    """All that a checkpoint must hold: random numbers and the position in the data follow from `step` alone."""

    optimizer: torch.optim.Optimizer
    ema: "EMAModel | None"
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    skipped: int = 0

    @property
    def exported(self) -> nn.Module:
        """The network whose averaged weights are exported."""
        raise NotImplementedError

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All optimizers; the first is the one whose gradient norm is recorded."""
        return [part for part in vars(self).values() if isinstance(part, torch.optim.Optimizer)]

    @property
    def loss_scale(self) -> float:
        """What losses are multiplied by before their backward pass; 1 but for fp16."""
        return self.scaler.get_scale() if self.scaler else 1.0

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return a loss as it is for the backward pass."""
        return self.scaler.scale(loss) if self.scaler else loss

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return {name: part if isinstance(part, int) else part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore in place what `state_dict` returned."""
        for name, part in vars(self).items():
            if isinstance(part, int):
                setattr(self, name, state[name])
            elif part is not None and (name in state or name != "scaler"):  # which begins where fp16 does
                part.load_state_dict(state[name])
        if self.ema is not None:  # unlike the others it keeps the loaded tensors on their device
            self.ema.to(next(self.exported.parameters()).device)


class Trainer(Protocol):
    """Computes gradients of networks that are prepared for several processes."""

    networks: Sequence[nn.Module]

    def split(self, batch: Any, step: int) -> Sequence[Any]:
        """Return the micro-batches of a step, on the device."""

    def backward(
        self, micro_batch: Any, step: int, generator: torch.Generator, n_micro: int
    ) -> tuple[dict[str, Tensor], str]:
        """Add the gradient of a micro-batch's loss over their number; return losses and the sampled transform."""


def train(
    run: Run, state: TrainingState, trainer: Trainer, batches: Iterator[Any], accelerator: Accelerator
) -> Iterator[StepRecord]:
    """Advance `state` from its step to `run.steps`; yield a record of each update.

    A step whose loss or gradient is not finite changes nothing and is marked as skipped.

    Raises:
        DivergedError: after `run.max_bad_steps` such steps in a row.
        TooLargeError: where memory does not suffice, with the accumulation that is to be tried.
    """
    options, n_bad = run.optimizer, 0
    while state.step < run.steps:
        started = time.perf_counter()
        batch = next(batches)
        data_time = time.perf_counter() - started
        lr = set_learning_rate(state.optimizer, options.lr, state.step, options.warmup)
        generator = seeded("step", run.seed, accelerator.process_index, state.step)
        micro_batches = trainer.split(batch, state.step)
        losses: dict[str, Tensor] = {}
        for i, micro_batch in enumerate(micro_batches):
            is_last = i == len(micro_batches) - 1
            with ExitStack() as stack:
                for network in () if is_last else trainer.networks:
                    stack.enter_context(accelerator.no_sync(network))  # gradients stay in their process
                with explain_memory(run, accelerator.num_processes):
                    parts, transform = trainer.backward(micro_batch, state.step, generator, len(micro_batches))
            for name, value in parts.items():
                losses[name] = losses.get(name, 0) + value.detach() / len(micro_batches)
        finite, norms = torch.stack(list(losses.values())).isfinite().all(), []
        for optimizer in state.optimizers:
            if state.scaler:
                state.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(parameters, options.clip or math.inf)
            norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
            finite = finite & norms[-1].isfinite()
        if accelerator.num_processes > 1:  # which must agree
            finite = accelerator.reduce(finite.float(), "mean") == 1
        skipped, scale = not finite, state.loss_scale
        for optimizer in state.optimizers:
            if not skipped:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if state.scaler:
            state.scaler.update()
        if state.ema is not None and not skipped:
            state.ema.step(state.exported.parameters())
        state.skipped += skipped
        state.step += 1
        seconds = time.perf_counter() - started
        yield StepRecord(
            state.step, losses, transform, lr, float(norms[0]), skipped, seconds, data_time, tuple(batch.bad), scale
        )
        # Overflow at a large scale, which is then halved, is no sign of divergence.
        n_bad = n_bad + (scale <= 1) if skipped else 0
        if n_bad >= run.max_bad_steps:
            culprits = [name for name, value in losses.items() if not value.isfinite()] or ["the gradient"]
            raise DivergedError(
                f"{n_bad} steps in a row were not finite ({', '.join(culprits)}); lower optimizer.lr or use precision "
                f"fp32, then run again to resume from the last checkpoint"
            )


@contextmanager
def explain_memory(run: Run, n_processes: int) -> Iterator[None]:
    """Turn running out of memory into a TooLargeError that names the accumulation of half the images, or fewer.

    What is trained stays the same with more micro-batches, up to rounding and the transforms that each samples.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        share = run.batch_size // n_processes
        micro_batch = share // run.accumulation
        fewer = [n for n in range(run.accumulation * 2, share + 1) if share % n == 0]
        others = "precision bf16 or smaller sizes"
        if not run.gradient_checkpointing:
            others = f"gradient_checkpointing, {others}"
        part, remedy = "autoencoder" if isinstance(run, AutoencoderRun) else "diffusion", ""
        if fewer:
            option = f"--accumulation {fewer[0]}; in a plan, {part}.accumulation"
            remedy = f"raise accumulation to {fewer[0]} ({option}), or "
        raise TooLargeError(
            f"micro-batches of {micro_batch} do not fit the memory of this device: {remedy}take {others}"
        ) from error


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float, step: int, warmup: int) -> float:
    """Set and return the rate of a step: a linear warm-up over `warmup` updates, then constant."""
    current = lr * min(1.0, (step + 1) / max(warmup, 1))
    for group in optimizer.param_groups:
        group["lr"] = current
    return current


def adamw(net: nn.Module, options: Optimizer, lr: float | None = None) -> torch.optim.Optimizer:
    """Return AdamW over the trainable parameters of `net`; lr: in place of the options'."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    rate = options.lr if lr is None else lr
    return torch.optim.AdamW(trainable, lr=rate, betas=options.betas, weight_decay=options.weight_decay, fused=True)


def averaged(net: nn.Module, options: Optimizer) -> "EMAModel | None":
    """Return the average of a network's weights, None for a decay of 0. It starts from the first update's weights."""
    if not options.ema:
        return None
    from diffusers.training_utils import EMAModel

    least = 0.0 if options.ema_ramp else options.ema
    return EMAModel(net.parameters(), decay=options.ema, min_decay=least, foreach=True)


@contextmanager
def ema_weights(state: TrainingState) -> Iterator[None]:
    """Replace the exported network's parameters by their averages, if there are any, until the block ends."""
    if state.ema is None:
        yield
        return
    parameters = list(state.exported.parameters())
    state.ema.store(parameters)
    state.ema.copy_to(parameters)
    try:
        yield
    finally:
        state.ema.restore(parameters)
