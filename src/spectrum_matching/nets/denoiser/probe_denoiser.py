"""A tiny convolutional denoiser that takes any grid, for probing how hard latents are to denoise."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 40
DILATIONS = (1, 2, 4, 8)
N_LEVEL_FEATURES = 32


class ProbeDenoiser(nn.Module):
    """Velocity ε − x from x_t = (1 − t)·x + t·ε: (b, channels, h, w), t (b,) in [0, 1] → (b, channels, h, w).

    For data of unit variance. Four residual blocks of 40 channels at full resolution, each a 3 × 3 convolution (dilated
    by 1, 2, 4, 8), a scale and shift by the noise level, and a 1 × 1 convolution: 110,184 weights and 721 for each
    channel. New, it is the best denoiser of white data: the network adds to the linear estimate from one value alone,
    and its last layer starts at 0. The seed alone decides the weights.
    """

    def __init__(self, channels: int, seed: int = 0) -> None:
        super().__init__()
        with torch.device("meta"):  # built without numbers, since the global generator must not be drawn from
            self.level = nn.Sequential(nn.Linear(N_LEVEL_FEATURES, 128), nn.SiLU())
            self.first = nn.Conv2d(channels, WIDTH, 3, padding=1)
            self.blocks = nn.ModuleList(_Block(dilation) for dilation in DILATIONS)
            self.last = nn.Conv2d(WIDTH, channels, 3, padding=1)
        self.to_empty(device="cpu")
        generator = torch.Generator("cpu").manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name.startswith("last") or "modulate" in name:
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="linear", generator=generator)

    def forward(self, noisy: Tensor, t: Tensor) -> Tensor:
        level = self.level(_level_features(t))
        t = t.view(-1, 1, 1, 1)
        spread = ((1 - t).square() + t.square()).sqrt()
        x = self.first(noisy / spread)
        for block in self.blocks:
            x = block(x, level)
        # Given one value of x_t alone, the velocity has mean (2t − 1)/spread² · x_t and standard deviation 1/spread.
        return (2 * t - 1) / spread.square() * noisy + self.last(F.silu(x)) / spread


class _Block(nn.Module):
    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, WIDTH)
        self.spatial = nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation)
        self.modulate = nn.Linear(128, 2 * WIDTH)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.modulate(level)[..., None, None].chunk(2, dim=1)
        inner = torch.addcmul(shift, self.spatial(self.norm(x)), 1 + scale)
        return x + self.mix(F.silu(inner))


def _level_features(t: Tensor) -> Tensor:
    """(b,) → (b, 32): cosines and sines of t at 16 frequencies from ½ to 16 cycles."""
    frequencies = torch.logspace(-1, 4, N_LEVEL_FEATURES // 2, base=2, device=t.device)
    angles = 2 * math.pi * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
