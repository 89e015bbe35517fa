"""The randomness of a sample as a function of its number alone, whatever batch or process makes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..seeding import seeded


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise for the samples numbered `indices`, one of a batch each."""

    seed: int
    indices: Sequence[int]

    def start(self, shape: tuple[int, ...]) -> Tensor:
        """Where sampling starts: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._drawn("start", shape)

    def at(self, step: int, shape: tuple[int, ...]) -> Tensor:
        """For step number `step`: (c, h, w) → (b, c, h, w), float32 on the CPU."""
        return self._drawn(step, shape)

    def _drawn(self, step: int | str, shape: tuple[int, ...]) -> Tensor:
        noise = torch.empty(len(self.indices), *shape)
        for row, index in zip(noise, self.indices, strict=True):
            row.normal_(generator=seeded("sample", self.seed, index, step))
        return noise
