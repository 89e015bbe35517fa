"""ShuffleNetV2 × 0.5 (Ma et al., arXiv 1807.11164) without its classifier: a vision encoder that reads one local file.

Names of the weights are those of the backbone of FastestDet (dog-qiuqiu, BSD-3), and so is what they were trained on:
pixels in 0 … 1, blue first, not normalised. The statistics kept in the file's batch norms are those of such pixels.
"""

from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .weights import read_weights

PATCH, SIDE = 32, 224
"""Pixels along a token's side, and along those of the images that the network was trained on."""

STEM, STAGES = 24, {"stage2": (4, 48), "stage3": (8, 96), "stage4": (4, 192)}
"""Channels after the first convolution; units and channels of each stage."""

WIDTH = STAGES["stage4"][1]
PREPARATION = "values in [0, 1], blue first"
REMEDY = "give shufflenet:PATH, the file of FastestDet's backbone (shufflenetv2_backbone.pth)"


class ShuffleNet(nn.Module):
    """Maps images (b, 3, H, W) in [-1, 1] to their last features (b, 192, H / 32, W / 32), none negative; frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*_convolution(3, STEM, 3, stride=2), nn.ReLU())
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        c = STEM
        for name, (n, width) in STAGES.items():
            self.add_module(name, nn.Sequential(_Downsample(c, width), *(_Unit(width) for _ in range(n - 1))))
            c = width
        self.requires_grad_(False).eval()

    @classmethod
    def from_weights(cls, path: str) -> Self:
        """Load the weights of a file, whatever device they were saved on.

        Raises:
            ValueError: when it cannot be read, or lacks a tensor of the network or has another.
        """
        with torch.device("cpu"):
            network = cls()
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        network.load_state_dict(read_weights(path, shapes, "ShuffleNetV2 x 0.5", REMEDY, others="refuse"))
        for layers in [each for each in network.modules() if isinstance(each, nn.Sequential)]:
            _fuse(layers)
        return network.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the last features."""
        x = self.pool(self.first_conv(((images + 1) / 2).flip(1)))
        for name in STAGES:
            x = getattr(self, name)(x)
        return x


class _Unit(nn.Module):
    """A unit that keeps the grid: even channels as they are, then what a branch makes of the odd ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch_main = _branch(width // 2, width // 2, width // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, ::2], self.branch_main(x[:, 1::2])], 1)


class _Downsample(nn.Module):
    """A unit that halves the grid: two branches, both of all channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branch_main = _branch(channels, width // 2, width - channels, stride=2)
        self.branch_proj = nn.Sequential(
            *_convolution(channels, channels, 3, stride=2, groups=channels),
            *(*_convolution(channels, channels, 1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)


def _branch(channels: int, inner: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *(*_convolution(channels, inner, 1), nn.ReLU()),
        *_convolution(inner, inner, 3, stride=stride, groups=inner),
        *(*_convolution(inner, outer, 1), nn.ReLU()),
    )


def _convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(width)


def _fuse(layers: nn.Sequential) -> None:
    """Put each batch norm into the convolution before it."""
    for i, (convolution, norm) in enumerate(pairwise(list(layers))):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
