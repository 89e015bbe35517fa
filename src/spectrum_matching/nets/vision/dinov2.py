"""DINOv2's class token, for FD-DINOv2: a Fréchet distance in features that people's judgement agrees with better.

Source: Stein et al., Exposing flaws of generative model evaluation metrics (arXiv 2306.04675), with the large model.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..hub import download
from .pretrained import IMAGENET_MEAN, IMAGENET_STD, load_pretrained, standardised

NAME = "facebook/dinov2-large"
SIDE = 224
RESIZER = "bicubic to 224, antialiased; ImageNet's mean and deviation"
FILES = ("config.json", "model.safetensors")


class DINOv2(nn.Module):
    """Images (b, 3, H, W) in [-1, 1] → class tokens after the last norm (b, d), in float32. Frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """ValueError unless images are (b, 3, H, W)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"DINOv2 got images {tuple(images.shape)}, expected (b, 3, H, W)")
        with torch.autocast(images.device.type, enabled=False):
            pixels = standardised(images, SIDE, "bicubic", self.mean, self.std)
            tokens: Tensor = self.model(pixels).last_hidden_state
        return tokens[:, 0]

    @classmethod
    def from_weights(cls, folder: Path) -> Self:
        """From a folder in transformers' format; ValueError in one line for anything else, or without transformers."""
        return cls(load_pretrained("Dinov2Model", folder, f"a copy of {NAME}"))


def weights_folder(source: str) -> Path:
    """A folder that exists, or `hub:owner/name` downloaded; ValueError where neither is there."""
    if source.startswith("hub:"):
        try:
            return download(source.removeprefix("hub:"), FILES)
        except ValueError as error:
            raise ValueError(f"{error}, as dinov2:FOLDER") from error
    folder = Path(source).expanduser()
    if not (folder / FILES[0]).is_file():
        raise ValueError(f"{source} is no folder with {' and '.join(FILES)}: give dinov2:FOLDER, a copy of {NAME}")
    return folder
