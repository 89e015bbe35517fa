"""Train a diffusion model: a generator that yields a record for each update."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from accelerate import Accelerator

from .data.seeding import seeded
from .diffusion import Path, Times, diffusion_loss
from .diffusion_data import DiffusionBatch
from .diffusion_runs import Curriculum, DiffusionRun
from .diffusion_state import DiffusionState, n_classes_of
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
    if run.compile:
        denoiser.compile()
    path, times = path_of(run), times_of(run)
    labelled = n_classes_of(state.denoiser) > 0
    moved = list(state.denoiser.parameters())
    bad_in_a_row = 0
    while state.step < run.steps:
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        lr = set_learning_rate(state.optimizer, run.optimizer.lr, state.step, run.optimizer.warmup)
        generator = seeded("step", run.seed, accelerator.process_index, state.step)
        keep = lowpass_at(run.curriculum, state.step, run.steps)
        data = batch.data if keep is None else block_lowpass(batch.data, keep, run.curriculum.block)
        total = torch.zeros((), device=data.device)
        micro_batches = list(zip(data.chunk(run.accumulation), batch.labels.chunk(run.accumulation), strict=True))
        for i, (part, labels) in enumerate(micro_batches):
            last = i == len(micro_batches) - 1
            with nullcontext() if last else accelerator.no_sync(denoiser):
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
                    )
                accelerator.backward(loss.total / len(micro_batches))
            total += loss.total.detach() / len(micro_batches)
        norm = torch.nn.utils.clip_grad_norm_(moved, run.optimizer.clip or math.inf)
        skipped = not finite_everywhere(norm.isfinite() & total.isfinite(), accelerator)
        if skipped:
            state.skipped += 1
            bad_in_a_row += 1
        else:
            bad_in_a_row = 0
            state.optimizer.step()
            if state.ema is not None:
                state.ema.step(moved)
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        elapsed = time.perf_counter() - started
        drawn = "" if keep is None else f"keep {keep}"
        losses = {"loss": total}
        yield StepRecord(state.step, losses, drawn, lr, float(norm), skipped, elapsed, waited, batch.bad)
        if bad_in_a_row >= run.max_bad_steps:
            raise diverged(bad_in_a_row, losses)


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
