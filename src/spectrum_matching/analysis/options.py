"""Optional measurements of an analysis, opened before any work is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data.images import ImageSet
from ..data.selection import choose_reference, overlap
from ..latents.alignment_targets import require_latents
from ..latents.latent_set import LatentSet
from ..latents.open_latents import CACHED, is_cached, open_latents
from ..metrics.generative.gaussian import LEAST
from ..nets.vision.encoders import VisionEncoder, open_vision
from ..nets.vision.extractors import open_extractor
from ..nets.vision.perceptual import LPIPS

N_REFERENCE = 10_000
REFERENCE_NEEDS_FEATURES = "a reference needs features, by which images are compared: name their extractor (--features)"


@dataclass(frozen=True)
class ReferenceData:
    """What models without training are fitted to: images to encode, or cached latents; `n` at most, spread over them.

    notes: what a reader of the numbers must know of them.
    """

    data: ImageSet | LatentSet
    n: int = N_REFERENCE
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.n < LEAST:
            raise ValueError(f"{self.n} reference latents are too few: take at least {LEAST} (--num-reference)")

    @property
    def n_chosen(self) -> int:
        """How many are chosen."""
        return min(self.n, len(self.data))


@dataclass(frozen=True)
class AnalysisOptions:
    """Optional measurements.

    labels: metrics by class, from the images' labels. masks: folder of foreground masks, for SRSS. perceptual: network
    for LPIPS and local perceptual consistency. features: extractor for rFID. encoder: vision encoder, for the affinity
    of latents to it. all_readings: alternative readings of metrics too. reference: of generation without training,
    which needs features.
    """

    labels: bool = False
    masks: Path | None = None
    perceptual: nn.Module | None = None
    features: Callable[[Tensor], Tensor] | None = None
    encoder: VisionEncoder | None = None
    all_readings: bool = False
    reference: ReferenceData | None = None

    def __post_init__(self) -> None:
        if self.reference and not self.features:
            raise ValueError(REFERENCE_NEEDS_FEATURES)

    @property
    def needs_rgb(self) -> str:
        """The option whose network takes RGB images alone; "" for none."""
        return next((name for name in ("perceptual", "features", "encoder") if getattr(self, name) is not None), "")


DEFAULTS = AnalysisOptions()


def open_options(
    *,
    labels: bool,
    masks: Path | None,
    lpips: str | None,
    features: str | None,
    encoder: str | None,
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
        encoder=open_vision(encoder, device) if encoder else None,
        all_readings=all_readings,
    )


def open_reference_data(source: str, images: ImageSet, n: int = N_REFERENCE) -> ReferenceData:
    """Open the reference of generation without training for the images measured, by its command-line name.

    source: of images, opened in the same size, or "latents:FOLDER".

    Raises:
        ValueError: when it does not open, or `n` is under 2.
    """
    if not is_cached(source):
        chosen = choose_reference(source, images)
        return ReferenceData(chosen.images, n, chosen.notes)
    latents = open_latents(source.removeprefix(CACHED))
    require_latents(latents)
    choice = latents.info.images
    return ReferenceData(latents, n, overlap(choice, images) if choice else ())
