"""Optional measurements of an analysis, opened before any work is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..nets.vision.extractors import open_extractor
from ..nets.vision.perceptual import LPIPS


@dataclass(frozen=True)
class AnalysisOptions:
    """Optional measurements.

    labels: metrics by class, from the images' labels. masks: folder of foreground masks, for SRSS. perceptual: network
    for LPIPS and local perceptual consistency. features: extractor for rFID. all_readings: alternative readings of
    metrics too.
    """

    labels: bool = False
    masks: Path | None = None
    perceptual: nn.Module | None = None
    features: Callable[[Tensor], Tensor] | None = None
    all_readings: bool = False


DEFAULTS = AnalysisOptions()


def open_options(
    *,
    labels: bool,
    masks: Path | None,
    lpips: str | None,
    features: str | None,
    all_readings: bool,
    device: torch.device,
) -> AnalysisOptions:
    """Open masks and networks by their command-line names; networks are moved to `device`.

    Raises:
        ValueError: when weights do not open or a folder is missing.
    """
    if masks is not None and not masks.is_dir():
        raise ValueError(f"--masks {masks} is not a folder: give one of PNG masks named as the images")
    return AnalysisOptions(
        labels=labels,
        masks=masks,
        perceptual=LPIPS.from_weights(lpips).to(device) if lpips else None,
        features=open_extractor(features, device) if features else None,
        all_readings=all_readings,
    )
