"""What a training of a diffusion model holds from step to step, and how it is built from a run."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from .diffusion_runs import DiffusionRun
from .nets.denoisers import build_denoiser
from .updates import adamw


@dataclass
class DiffusionState:
    """All that a checkpoint must hold: random numbers and data position follow from `step` alone."""

    denoiser: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None
    step: int = 0
    skipped: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        parts = {"denoiser": self.denoiser, "optimizer": self.optimizer, "ema": self.ema}
        saved = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**saved, "step": self.step, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, in place."""
        self.denoiser.load_state_dict(state["denoiser"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(next(self.denoiser.parameters()).device)  # it takes the loaded tensors as they lie
        self.step, self.skipped = state["step"], state["skipped"]


def build_diffusion_state(
    run: DiffusionRun, shape: tuple[int, int, int], n_classes: int, device: torch.device
) -> DiffusionState:
    """The state at step 0 for data (c, h, w); n_classes: 0 without labels."""
    channels, h, w = shape
    own = {name: getattr(run.denoiser, name) for name in ("width", "depth", "heads", "time_scale")}
    others = {name: value for name, value in own.items() if value is not None}
    n_conditions = n_classes if run.denoiser.labels else 0
    denoiser = build_denoiser(run.denoiser.name, channels, (h, w), n_conditions, run.seed, **others).to(device)
    ema = EMAModel(denoiser.parameters(), decay=run.optimizer.ema, foreach=True) if run.optimizer.ema else None
    return DiffusionState(denoiser, adamw(denoiser, run.optimizer), ema)


def n_classes_of(denoiser: nn.Module) -> int:
    """0 for one without labels."""
    config: Any = denoiser.config
    return int(config.n_classes)
