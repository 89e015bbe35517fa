"""The training loop of the study: a denoiser on data in memory, trained from one evaluation to the next."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...diffusion import Path, Times, diffusion_loss
from ...seeding import seeded
from .plans import FrequencyPlan

CLIP = 1.0


class StratifiedTimes(Times):
    """One uniform t in each of n equal parts of (0, 1): errors differ far more between levels than between images."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Return (n,) float32 on the CPU, ascending."""
        return (torch.arange(n) + torch.rand(n, generator=generator)) / n


@dataclass
class DenoiserTraining:
    """A denoiser in training, with everything that a checkpoint holds.

    AdamW without weight decay; the learning rate rises over the plan's warm-up and falls to 0 at its last update along
    half a cosine. data (n, c, h, w): on the network's device. weights (h, w): of squared DCT errors, None for the plain
    loss. The network is in eval mode between updates.
    """

    network: nn.Module
    path: Path
    data: Tensor
    plan: FrequencyPlan
    seed: int
    weights: Tensor | None = None
    step: int = 0

    def __post_init__(self) -> None:
        self.network.eval()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.plan.learning_rate, weight_decay=0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`: the same numbers follow as without an interruption."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def train_until(self, step: int) -> None:
        """Train up to an update. Batches, times and noise are a function of (seed, update)."""
        plan, device = self.plan, self.data.device
        self.network.train()
        while self.step < step:
            decay = (1 + math.cos(math.pi * self.step / plan.steps)) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = plan.learning_rate * min(1, (self.step + 1) / max(plan.warmup, 1)) * decay
            generator = seeded("frequency bias", self.seed, self.step)
            chosen = torch.randint(len(self.data), (plan.batch_size,), generator=generator).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=plan.autocast):
                loss = diffusion_loss(
                    self.network,
                    self.path,
                    self.data[chosen],
                    None,
                    times=StratifiedTimes(),
                    generator=generator,
                    spectral_weights=self.weights,
                ).total
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
            self.optimizer.step()
            self.step += 1
        self.network.eval()


def eval_steps(steps: int, n: int) -> tuple[int, ...]:
    """Return at most n updates at which to evaluate, n at least 2: 0, then geometrically from 8 to the last."""
    first = min(8, steps) if n > 2 else steps
    spaced = torch.logspace(math.log10(first), math.log10(steps), n - 1, dtype=torch.float64)
    return tuple(sorted({0, *(round(step) for step in spaced.tolist())}))
