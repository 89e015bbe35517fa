"""From a denoiser's tokens to the width of an alignment target: trained with the denoiser, and thrown away."""

import itertools

import torch
from torch import Tensor, nn


class PerceptronProjector(nn.Module):
    """Three layers with SiLU between them, on each token alone: (b, n, width) → (b, target_width, *grid).

    hidden: width between the layers. The seed alone decides the weights. Source: REPA (arXiv 2410.06940), hidden 2048.
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

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return as_field(self.layers(tokens), grid)


class ConvolutionProjector(nn.Module):
    """One 3 × 3 convolution over the grid of tokens: (b, n, width) → (b, target_width, *grid).

    The seed alone decides the weights. Source: iREPA (arXiv 2512.10794).
    """

    def __init__(self, width: int, target_width: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            self.convolution = nn.Conv2d(width, target_width, 3, padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        field: Tensor = self.convolution(as_field(tokens, grid))
        return field


def as_field(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(b, n, width), row by row → (b, width, *grid)."""
    return tokens.mT.reshape(len(tokens), -1, *grid)
