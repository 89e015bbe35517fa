"""Projectors from a denoiser's tokens to the width of an alignment target; discarded after training."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class PerceptronProjector(nn.Module):
    """A three-layer perceptron with SiLU on each token: (b, n, width) → (b, target_width, *grid).

    hidden: width between the layers. The seed alone decides the initial weights. Source: REPA (arXiv 2410.06940)
    with hidden 2048.
    """

    def __init__(self, width: int, target_width: int, hidden: int = 2048, seed: int = 0) -> None:
        super().__init__()
        sizes = (width, hidden, hidden, target_width)
        first, second, last = (nn.Linear(a, b, device="meta") for a, b in itertools.pairwise(sizes))
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last).to_empty(device="cpu")
        generator = torch.Generator("cpu").manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)

    def forward(self, tokens: Float[Tensor, "b n width"], grid: tuple[int, int]) -> Float[Tensor, "b d h w"]:
        """Project tokens (b, n, width) on `grid` to a field (b, target_width, *grid)."""
        return as_field(self.layers(tokens), grid)


class ConvolutionProjector(nn.Module):
    """One 3 × 3 convolution over the grid of tokens: (b, n, width) → (b, target_width, *grid).

    The seed alone decides the initial weights. Source: iREPA (arXiv 2512.10794).
    """

    def __init__(self, width: int, target_width: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            self.convolution = nn.Conv2d(width, target_width, 3, padding=1)

    def forward(self, tokens: Float[Tensor, "b n width"], grid: tuple[int, int]) -> Float[Tensor, "b d h w"]:
        """Project tokens (b, n, width) on `grid` to a field (b, target_width, *grid)."""
        field: Tensor = self.convolution(as_field(tokens, grid))
        return field


def as_field(tokens: Float[Tensor, "b n width"], grid: tuple[int, int]) -> Float[Tensor, "b width h w"]:
    """Arrange tokens (b, n, width), row by row, as a field (b, width, *grid).

    Raises:
        ValueError: for tokens of another number, such as with class tokens among them.
    """
    if tokens.ndim != 3 or tokens.shape[1] != grid[0] * grid[1]:
        expected = f"(b, {grid[0]} x {grid[1]}, width) of the grid alone"
        raise ValueError(f"tokens are {tuple(tokens.shape)}, expected {expected}")
    return tokens.mT.reshape(len(tokens), -1, *grid)
