"""What is measured only when it is asked for, opened before any work is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..nets.vision.extractors import open_extractor
from ..nets.vision.perceptual import LPIPS


@dataclass(frozen=True)
class Extras:
    """labels: by class, from the images' labels. masks: their folder. features: for rFID. perceptual: LPIPS."""

    labels: bool = False
    masks: Path | None = None
    perceptual: nn.Module | None = None
    features: Callable[[Tensor], Tensor] | None = None


NO_EXTRAS = Extras()


def open_extras(
    labels: bool,
    masks: Path | None,
    lpips: str | None,
    features: str | None,
    device: torch.device,
) -> Extras:
    """Networks come on `device`.

    ValueError in one line for weights that do not open, a folder that is not there.
    """
    if masks is not None and not masks.is_dir():
        raise ValueError(f"--masks {masks} is no folder: give one of PNG masks named as the images")
    return Extras(
        labels,
        masks,
        LPIPS.from_weights(lpips).to(device) if lpips else None,
        open_extractor(features, device) if features else None,
    )
