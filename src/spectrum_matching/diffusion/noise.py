"""Sampling noise as a function of seed and sample number alone, independent of batches and processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..seeding import seeded

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise for a batch of samples numbered `indices`."""

    seed: int
    indices: Sequence[int]

    def start(self, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
        """Return the initial noise: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._sample("start", shape)

    def at(self, step: int, shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
        """Return the noise of step number `step`: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._sample(step, shape)

    def _sample(self, step: int | str, shape: tuple[int, ...]) -> Tensor:
        noise = torch.empty(len(self.indices), *shape)
        for row, index in zip(noise, self.indices, strict=True):
            row.normal_(generator=seeded("sample", self.seed, index, step))
        return noise
