"""Train a diffusion model: a generator that yields a record for each update."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..diffusion import Path, Times, diffusion_loss, frequency_weights
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
from ..nets.precision import autocast, loss_scaler
from ..seeding import seeded
from ..spectrum.block_lowpass import block_lowpass
from .diffusion_config import AlignmentChoice, Curriculum, DiffusionRun
from .diffusion_data import DiffusionBatch
from .optimization import StepRecord, TrainingState, adamw, averaged, train
from .sharding import shard


@dataclass(kw_only=True)
class DiffusionState(TrainingState):
    """The denoiser, and the alignment whose projector is trained with it; None without alignment."""

    denoiser: nn.Module
    alignment: Alignment | None = None

    @property
    def exported(self) -> nn.Module:
        """The denoiser."""
        return self.denoiser


def train_diffusion(
    run: DiffusionRun, state: DiffusionState, batches: Iterator[DiffusionBatch], accelerator: Accelerator
) -> Iterator[StepRecord]:
    """Advance `state` by one update for each batch of this process's data; see `optimization.train`."""
    yield from train(run, state, DiffusionTrainer(run, state, accelerator), batches, accelerator)


class DiffusionTrainer:
    """The backward pass of denoiser and projector on a micro-batch.

    spectral_weights: of the loss, as `diffusion_loss` takes them; None: those of the run's objective.
    """

    spectral_weights: Tensor | None = None

    def __init__(self, run: DiffusionRun, state: DiffusionState, accelerator: Accelerator) -> None:
        self.run, self.state, self.accelerator = run, state, accelerator
        self.denoiser, self.alignment = state.denoiser, state.alignment
        if run.shard:  # each of them synchronises itself
            shard(state, [net for net in (state.denoiser, state.alignment) if net is not None], accelerator)
        else:
            self.denoiser = accelerator.prepare_model(state.denoiser)
            self.alignment = None if state.alignment is None else accelerator.prepare_model(state.alignment)
        self.networks: Sequence[nn.Module] = [net for net in (self.denoiser, self.alignment) if net is not None]
        if run.compile:
            for net in self.networks:
                net.compile()
        self.path, self.times, self.grid = path_of(run), times_of(run), token_grid(state.denoiser)
        self.is_conditional = n_classes_of(state.denoiser) > 0

    def split(self, batch: DiffusionBatch, step: int) -> Sequence[DiffusionBatch]:
        """Return the micro-batches of a step, low-passed where the curriculum says so."""
        keep, n = lowpass_at(self.run.curriculum, step, self.run.steps), self.run.accumulation
        data = batch.data if keep is None else block_lowpass(batch.data, keep, self.run.curriculum.block)
        targets = [None] * n if batch.targets is None else batch.targets.chunk(n)
        parts = zip(data.chunk(n), batch.labels.chunk(n), targets, strict=True)
        return [DiffusionBatch(data, labels, (), targets) for data, labels, targets in parts]

    def backward(
        self, micro_batch: DiffusionBatch, step: int, generator: torch.Generator, n_micro: int
    ) -> tuple[dict[str, Tensor], str]:
        """Accumulate the gradients of the diffusion loss and, with alignment, of its loss."""
        run, objective, data = self.run, self.run.objective, micro_batch.data
        if self.spectral_weights is None and objective.frequency_weight:
            h, w = data.shape[-2:]
            self.spectral_weights = frequency_weights(h, w, objective.frequency_weight).float().to(data.device)
        with autocast(run.precision, data.device):
            loss = diffusion_loss(
                self.denoiser,
                self.path,
                data,
                micro_batch.labels if self.is_conditional else None,
                times=self.times,
                generator=generator,
                label_dropout=objective.label_dropout if self.is_conditional else 0.0,
                weighting=objective.weighting,
                gamma=objective.gamma,
                spectral_weights=self.spectral_weights,
                tap=None if self.alignment is None else run.alignment.tap,
            )
            total, losses = loss.total, {"loss": loss.total}
            if self.alignment is not None:
                losses["alignment"] = self.alignment(loss.tokens, self.grid, micro_batch.targets)
                total = total + run.alignment.weight * losses["alignment"]
        self.accelerator.backward(self.state.scale_loss(total / n_micro))
        keep = lowpass_at(run.curriculum, step, run.steps)
        return losses, "" if keep is None else f"keep {keep}"


def path_of(run: DiffusionRun) -> Path:
    """Return the path and the prediction of a run."""
    return Path(run.objective.path, run.objective.prediction)


def times_of(run: DiffusionRun) -> Times:
    """Return the distribution of the times of a run."""
    return Times(run.objective.times, run.objective.times_mean, run.objective.times_std, run.objective.shift)


def lowpass_at(curriculum: Curriculum, step: int, n_steps: int) -> int | None:
    """Return the low-pass strength of a step; None where everything is kept."""
    until = curriculum.share * n_steps
    if not curriculum.keep or step >= until:
        return None
    return curriculum.keep[int(step / until * len(curriculum.keep))]


def build_diffusion_state(
    run: DiffusionRun,
    shape: tuple[int, int, int],
    n_classes: int,
    device: torch.device,
    target_shape: tuple[int, int, int] | None = None,
) -> DiffusionState:
    """Build the state at step 0 for data (c, h, w).

    n_classes: 0 without labels. target_shape (d, h', w'): of alignment targets, None without alignment.

    Raises:
        ValueError: where there is no such network.
    """
    channels, h, w = shape
    choice = run.denoiser
    n_conditions = n_classes if choice.labels else 0
    denoiser = build_denoiser(choice.name, channels, (h, w), n_conditions, run.seed, **choice.changes).to(device)
    if run.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()
    trained, alignment = denoiser, None
    if target_shape is not None:
        width: Any = denoiser.width
        seed = seeded("projector", run.seed).initial_seed()  # the denoiser's weights are sampled from the seed itself
        if run.alignment.projector == "perceptron":
            projector: nn.Module = PerceptronProjector(width, target_shape[0], run.alignment.hidden, seed)
        else:
            projector = ConvolutionProjector(width, target_shape[0], seed)
        alignment = Alignment(projector, filter_of(run.alignment), LOSSES[run.alignment.loss]).to(device)
        trained = nn.ModuleList([denoiser, alignment])
    return DiffusionState(
        denoiser=denoiser,
        alignment=alignment,
        optimizer=adamw(trained, run.optimizer),
        ema=averaged(denoiser, run.optimizer),
        scaler=loss_scaler(run.precision, device),
    )


def filter_of(choice: AlignmentChoice) -> TargetFilter:
    """Return the filter of the targets; ValueError for numbers that make none."""
    if choice.filter == "normalise":
        return SpatialNormalisation(choice.gamma, choice.std)
    if choice.filter == "dog":
        return DifferenceOfGaussians(choice.inner, choice.outer, choice.std)
    return Unfiltered()
