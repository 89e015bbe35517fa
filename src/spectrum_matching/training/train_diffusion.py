"""Train a diffusion model: a generator that yields a record for each update."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..diffusion import Path, Times, diffusion_loss
from ..diffusion.alignment import (
    LOSSES,
    Alignment,
    DifferenceOfGaussians,
    SpatialNormalisation,
    TargetFilter,
    Unfiltered,
)
from ..diffusion.projectors import ConvolutionProjector, PerceptronProjector
from ..nets.denoiser.build import build_denoiser, n_classes_of, token_grid
from ..seeding import seeded
from ..spectrum.blocks import block_lowpass
from .diffusion_config import AlignmentChoice, Curriculum, DenoiserChoice, DiffusionRun
from .diffusion_data import DiffusionBatch
from .optimization import StepRecord, adamw, diverged, finite_everywhere, set_learning_rate


@dataclass
class DiffusionState:
    """All that a checkpoint must hold: random numbers and data position follow from `step` alone.

    alignment: its projector is trained with the denoiser; None without alignment.
    """

    denoiser: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None
    alignment: Alignment | None = None
    step: int = 0
    skipped: int = 0

    def _parts(self) -> dict[str, Any]:
        parts = {"denoiser": self.denoiser, "alignment": self.alignment, "optimizer": self.optimizer, "ema": self.ema}
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        saved = {name: part.state_dict() for name, part in self._parts().items()}
        return {**saved, "step": self.step, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, in place."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if self.ema is not None:
            self.ema.to(next(self.denoiser.parameters()).device)  # it takes the loaded tensors as they lie
        self.step, self.skipped = state["step"], state["skipped"]


def train_diffusion(
    run: DiffusionRun, state: DiffusionState, batches: Iterator[DiffusionBatch], accelerator: Accelerator
) -> Iterator[StepRecord]:
    """Advance `state` from its step to `run.steps`, one update for each batch of this process's data.

    A step whose loss or gradient is not finite changes nothing and is marked as skipped; DivergedError is raised after
    `run.max_bad_steps` of them in a row.
    """
    denoiser = accelerator.prepare_model(state.denoiser)
    alignment = None if state.alignment is None else accelerator.prepare_model(state.alignment)
    if run.compile:
        denoiser.compile()
        if alignment is not None:
            alignment.compile()
    path, times, grid = path_of(run), times_of(run), token_grid(state.denoiser)
    labelled = n_classes_of(state.denoiser) > 0
    learned = [denoiser] if alignment is None else [denoiser, alignment]
    moved = [p for group in state.optimizer.param_groups for p in group["params"]]
    bad_in_a_row = 0
    while state.step < run.steps:
        started = time.perf_counter()
        batch = next(batches)
        data_time = time.perf_counter() - started
        lr = set_learning_rate(state.optimizer, run.optimizer.lr, state.step, run.optimizer.warmup)
        generator = seeded("step", run.seed, accelerator.process_index, state.step)
        keep = lowpass_at(run.curriculum, state.step, run.steps)
        data = batch.data if keep is None else block_lowpass(batch.data, keep, run.curriculum.block)
        parts = (data, batch.labels) if batch.targets is None else (data, batch.labels, batch.targets)
        micro_batches = list(zip(*(part.chunk(run.accumulation) for part in parts), strict=True))
        losses: dict[str, Tensor] = {}
        for i, (part, labels, *targets) in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            with nullcontext() if last else unsynchronised(accelerator, learned):
                with torch.autocast(data.device.type, torch.bfloat16, enabled=run.precision == "bf16"):
                    loss = diffusion_loss(
                        denoiser,
                        path,
                        part,
                        labels if labelled else None,
                        times=times,
                        generator=generator,
                        label_dropout=run.objective.label_dropout if labelled else 0.0,
                        weighting=run.objective.weighting,
                        gamma=run.objective.gamma,
                        tap=None if alignment is None else run.alignment.tap,
                    )
                    total, found = loss.total, {"loss": loss.total}
                    if alignment is not None:
                        found["alignment"] = alignment(loss.tokens, grid, *targets)
                        total = total + run.alignment.weight * found["alignment"]
                accelerator.backward(total / len(micro_batches))
            for name, value in found.items():
                losses[name] = losses.get(name, 0) + value.detach() / len(micro_batches)
        norm = torch.nn.utils.clip_grad_norm_(moved, run.optimizer.clip or math.inf)
        finite = norm.isfinite() & torch.stack(list(losses.values())).isfinite().all()
        skipped = not finite_everywhere(finite, accelerator)
        if skipped:
            state.skipped += 1
            bad_in_a_row += 1
        else:
            bad_in_a_row = 0
            state.optimizer.step()
            if state.ema is not None:
                state.ema.step(state.denoiser.parameters())
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        elapsed = time.perf_counter() - started
        transform = "" if keep is None else f"keep {keep}"
        yield StepRecord(state.step, losses, transform, lr, float(norm), skipped, elapsed, data_time, batch.bad)
        if bad_in_a_row >= run.max_bad_steps:
            raise diverged(bad_in_a_row, losses)


@contextmanager
def unsynchronised(accelerator: Accelerator, models: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block gradients stay in their process."""
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(accelerator.no_sync(model))
        yield


def path_of(run: DiffusionRun) -> Path:
    """The run's path and prediction."""
    return Path(run.objective.path, run.objective.prediction)


def times_of(run: DiffusionRun) -> Times:
    """How the run draws its times."""
    return Times(run.objective.times, run.objective.times_mean, run.objective.times_std, run.objective.shift)


def lowpass_at(curriculum: Curriculum, step: int, n_steps: int) -> int | None:
    """The strength in force at a step; None where everything is kept."""
    until = curriculum.share * n_steps
    if not curriculum.keep or step >= until:
        return None
    return curriculum.keep[int(step / until * len(curriculum.keep))]


def build_diffusion_state(
    run: DiffusionRun,
    shape: tuple[int, int, int],
    n_classes: int,
    device: torch.device,
    target_width: int | None = None,
) -> DiffusionState:
    """The state at step 0 for data (c, h, w); n_classes: 0 without labels; target_width: of alignment targets."""
    channels, h, w = shape
    n_conditions = n_classes if run.denoiser.labels else 0
    others = overrides(run.denoiser)
    denoiser = build_denoiser(run.denoiser.name, channels, (h, w), n_conditions, run.seed, **others).to(device)
    ema = EMAModel(denoiser.parameters(), decay=run.optimizer.ema, foreach=True) if run.optimizer.ema else None
    if target_width is None:
        return DiffusionState(denoiser, adamw(denoiser, run.optimizer), ema)
    width: Any = denoiser.width
    alignment = build_alignment(run.alignment, width, target_width, run.seed).to(device)
    return DiffusionState(denoiser, adamw(nn.ModuleList([denoiser, alignment]), run.optimizer), ema, alignment)


def overrides(choice: DenoiserChoice) -> dict[str, Any]:
    """What of a network differs from its size's own."""
    own = {name: getattr(choice, name) for name in ("width", "depth", "heads", "time_scale")}
    return {name: value for name, value in own.items() if value is not None}


def build_alignment(choice: AlignmentChoice, width: int, target_width: int, seed: int) -> Alignment:
    """From tokens of one width to targets of another; the seed alone decides the projector's weights."""
    seed = seeded("projector", seed).initial_seed()  # the denoiser's weights are drawn from the seed itself
    if choice.projector == "perceptron":
        projector: nn.Module = PerceptronProjector(width, target_width, choice.hidden, seed)
    else:
        projector = ConvolutionProjector(width, target_width, seed)
    return Alignment(projector, filter_of(choice), LOSSES[choice.loss])


def filter_of(choice: AlignmentChoice) -> TargetFilter:
    """ValueError for numbers that make no filter, and for some that no filter would use."""
    plain = AlignmentChoice()
    if choice.filter == "none" and choice.std != "none":
        raise ValueError(
            f"alignment.std is {choice.std!r}, and unfiltered targets are not divided: set alignment.filter to "
            f"normalise, with gamma 0 for division alone"
        )
    if choice.filter != "normalise" and choice.gamma != plain.gamma:
        raise ValueError(f"alignment.gamma is {choice.gamma:g}, which only alignment.filter normalise uses")
    if choice.filter != "dog" and (choice.inner, choice.outer) != (plain.inner, plain.outer):
        raise ValueError(
            f"alignment.inner and outer are {choice.inner:g} and {choice.outer:g}, which only alignment.filter dog uses"
        )
    if choice.filter == "normalise":
        return SpatialNormalisation(choice.gamma, choice.std)
    if choice.filter == "dog":
        return DifferenceOfGaussians(choice.inner, choice.outer, choice.std)
    return Unfiltered()
