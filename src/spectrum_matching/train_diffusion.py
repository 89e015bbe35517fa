"""Train a diffusion model: a generator that yields a record for each update."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .diffusion import Path, Times, diffusion_loss
from .diffusion_data import DiffusionBatch
from .diffusion_runs import Curriculum, DiffusionRun
from .diffusion_state import DiffusionState
from .nets.denoiser.build import n_classes_of, token_grid
from .seeding import seeded
from .spectrum.blocks import block_lowpass
from .updates import StepRecord, diverged, finite_everywhere, set_learning_rate


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
        waited = time.perf_counter() - started
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
        drawn = "" if keep is None else f"keep {keep}"
        yield StepRecord(state.step, losses, drawn, lr, float(norm), skipped, elapsed, waited, batch.bad)
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
