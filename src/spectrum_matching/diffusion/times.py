"""Distributions of t in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Distribution = Literal["uniform", "log_normal", "log_normal_angle", "shifted", "discrete"]

N_DISCRETE = 1000
SMALLEST = 2.0**-24  # the distance of the largest float32 below 1


@dataclass(frozen=True)
class Times:
    """A distribution of t over (0, 1), "discrete" over (0, 1]; 0 data and 1 noise.

    kind "log_normal": t = 1/(1 + exp(−mean − std·z)), z normal: log(t/(1 − t)) is normal, which papers call logit-
    normal and code lognorm (SD3, arXiv 2403.03206, eq. 19). "log_normal_angle": t = 2/π · atan(exp(mean + std·z)), so
    that σ/α of the cosine path is log-normal, as REPA's code has it there. "discrete": n / 1000 for n = 1 … 1000,
    equally probable, as Stable Diffusion and U-ViT on ImageNet train. "shifted": t = shift·u/(1 + (shift − 1)·u), u
    uniform; a shift above 1 gives more noise (SD3, eq. 23, where it is the square root of the ratio of pixels).
    """

    kind: Distribution = "uniform"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Distribution):
            raise ValueError(f"times must be one of {', '.join(get_args(Distribution))}; got {self.kind!r}")
        if not (0 < self.std < math.inf and 0 < self.shift < math.inf):
            raise ValueError(f"expected a positive std and shift, got std {self.std} and shift {self.shift}")
        if not math.isfinite(self.mean):
            raise ValueError(f"expected a finite mean, got {self.mean}")

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
        """Sample t, (n,) float32 on the CPU."""
        if self.kind == "log_normal":
            t = torch.sigmoid(self.mean + self.std * torch.randn(n, generator=generator))
        elif self.kind == "log_normal_angle":
            t = 2 / math.pi * (self.mean + self.std * torch.randn(n, generator=generator)).exp().atan()
        elif self.kind == "discrete":
            return torch.randint(1, N_DISCRETE + 1, (n,), generator=generator) / N_DISCRETE
        else:
            t = torch.rand(n, generator=generator)
            t = shifted(t, self.shift) if self.kind == "shifted" else t
        return t.clamp(SMALLEST, 1 - SMALLEST)


def shifted(t: Float[Tensor, "*b"], shift: float) -> Float[Tensor, "*b"]:
    """Return shift·t/(1 + (shift − 1)·t), which keeps 0 and 1 and divides α/σ of the linear path by `shift`."""
    return shift * t / (1 + (shift - 1) * t)
