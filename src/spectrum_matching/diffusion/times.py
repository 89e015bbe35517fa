"""Distributions of t in training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Distribution = Literal["uniform", "log_normal", "shifted"]

SMALLEST = 2.0**-24  # the distance of the largest float32 below 1


@dataclass(frozen=True)
class Times:
    """A distribution of t over (0, 1), 0 data and 1 noise.

    kind "log_normal": t = 1/(1 + exp(−mean − std·z)), z normal: log(t/(1 − t)) is normal, which papers call
    logit-normal and code lognorm (SD3, arXiv 2403.03206, eq. 19). "shifted": t = shift·u/(1 + (shift − 1)·u), u
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
        else:
            t = torch.rand(n, generator=generator)
            t = shifted(t, self.shift) if self.kind == "shifted" else t
        return t.clamp(SMALLEST, 1 - SMALLEST)


def shifted(t: Float[Tensor, "*b"], shift: float) -> Float[Tensor, "*b"]:
    """Return shift·t/(1 + (shift − 1)·t), which keeps 0 and 1 and divides α/σ of the linear path by `shift`."""
    return shift * t / (1 + (shift - 1) * t)
