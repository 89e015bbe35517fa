"""LPIPS (Zhang et al., 2018), version 0.1 on VGG16: distance of unit-normalised features at five depths."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from ...files.digests import digest_weights
from .weights import read_weights

# VGG16: widths of the convolutions, 0 for a pooling. Below, the tapped ReLUs in torchvision's numbering of layers, with
# their widths.
_LAYOUT = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
_TAPS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}

REMEDY = "put torchvision's vgg16-397923af.pth and vgg.pth of lpips 0.1 into one folder and give its path"
_TRUNK = re.compile(r"(?:features|net\.slice\d)\.(\d+\.(?:weight|bias))")
_HEAD = re.compile(r"lin(\d)\.model\.\d\.weight")


class LPIPS(nn.Module):
    """Perceptual distance (b,) between two batches of images (b, 3, H, W) in [-1, 1], 0 when they are equal.

    Frozen; gradients flow to the images. weights: torchvision's `features.N.weight` and `features.N.bias`, and the
    heads `lin0` … `lin4`, each (C,); `from_weights` reads the published files.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)
        with torch.device("meta"):  # without values, which the weights give
            self.features = _trunk()
            for k, channels in enumerate(_TAPS.values()):
                self.register_buffer(f"lin{k}", torch.empty(channels))
        self.load_state_dict(weights, assign=True)
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return distances (b,) in float32 or wider.

        Raises:
            ValueError: for unequal shapes, other than 3 channels, or a side below 16.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or min(a.shape[2:]) < 16:
            raise ValueError(
                f"LPIPS got {tuple(a.shape)} and {tuple(b.shape)}; expected two equal shapes (b, 3, H, W) "
                f"with sides of at least 16"
            )
        # Not one joint pass: images that need no gradient then cost neither backward nor memory.
        distances = [
            ((features_a - features_b).square().mean(dim=(2, 3)) * self.get_buffer(f"lin{k}")).sum(dim=1)
            for k, (features_a, features_b) in enumerate(zip(self._taps(a), self._taps(b), strict=True))
        ]
        return torch.stack(distances).sum(dim=0)

    def _taps(self, images: Tensor) -> Iterator[Tensor]:
        x = (images - self.shift) / self.scale
        for n, layer in enumerate(self.features):
            x = layer(x)
            if n in _TAPS:
                features = x.to(torch.promote_types(x.dtype, torch.float32))
                # Inside the root, whose slope at 0 is infinite: all channels of a dark flat patch can be 0.
                yield features / (features.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return digest_weights(self)

    @classmethod
    def from_weights(cls, source: str | Path) -> Self:
        """Return LPIPS with the published weights, from a file, a folder of files or `hub:owner/name`.

        Together the files hold the trunk, named as by torchvision's VGG16 or by the lpips package, and the heads
        `lin0.model.1.weight` ….

        Raises:
            ValueError: as `read_weights`.
        """
        shapes = shapes_of_weights() | {f"lin{k}": (1, channels, 1, 1) for k, channels in enumerate(_TAPS.values())}
        weights = read_weights(source, shapes, "LPIPS on VGG16", REMEDY, _rename)
        return cls({name: w.flatten() if name.startswith("lin") else w for name, w in weights.items()})


def shapes_of_weights() -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight that `LPIPS` takes."""
    with torch.device("meta"):
        shapes = {f"features.{name}": tuple(w.shape) for name, w in _trunk().state_dict().items()}
    return shapes | {f"lin{k}": (channels,) for k, channels in enumerate(_TAPS.values())}


def _rename(name: str) -> str:
    if match := _TRUNK.fullmatch(name):
        return f"features.{match[1]}"
    return f"lin{match[1]}" if (match := _HEAD.fullmatch(name)) else ""


def _trunk() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in _LAYOUT:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
