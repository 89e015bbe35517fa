"""What a training of a diffusion model holds from step to step, and how it is built from a run."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from .diffusion.alignment import (
    LOSSES,
    Alignment,
    DifferenceOfGaussians,
    SpatialNormalisation,
    TargetFilter,
    Unfiltered,
)
from .diffusion.projectors import ConvolutionProjector, PerceptronProjector
from .diffusion_runs import AlignmentChoice, DenoiserChoice, DiffusionRun
from .nets.denoiser.build import build_denoiser
from .seeding import seeded
from .updates import adamw


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
