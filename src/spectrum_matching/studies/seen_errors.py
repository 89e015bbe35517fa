"""What image metrics make of denoised estimates, and of equal errors put into one band at a time."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..metrics.decoder.noise import placed_noise
from ..metrics.images.pixels import psnr, ssim
from ..nets.vision.extractors import Extractor
from ..nets.vision.perceptual import LPIPS
from ..spectrum.dct import idct2
from ..study_records.frequency_bias import Sight
from .band_errors import Bands
from .contrast_sensitivity import csf_psnr

CONTRAST = 0.6
"""Of the images that errors are put into, so that their sum stays in range, where metrics clamp nothing."""


class Eyes(NamedTuple):
    """What looks at images. weights (h, w): squared contrast sensitivity, mean 1."""

    weights: Tensor
    perceptual: LPIPS | None = None
    extractor: Extractor | None = None


class Harm(NamedTuple):
    """One metric of one pair of image sets. better: "higher" or "lower"."""

    metric: str
    unit: str
    better: str
    value: float

    @property
    def damage(self) -> float:
        """Higher is worse."""
        return self.value if self.better == "lower" else -self.value


def sight(output: Tensor, target: Tensor, eyes: Eyes) -> Sight:
    """Of images (b, 3, h, w), means over them; what leaves [−1, 1] is clamped by PSNR, SSIM and LPIPS."""
    perceptual = eyes.perceptual
    seen = None if perceptual is None else float(perceptual(output.clamp(-1, 1), target.clamp(-1, 1)).mean())
    return Sight(
        psnr=float(psnr(output, target).mean()),
        csf_psnr=float(csf_psnr(output, target, eyes.weights).mean()),
        ssim=float(ssim(output, target).mean()),
        lpips=seen,
    )


def band_error(shape: tuple[int, ...], bands: Bands, band: int, rms: float) -> Tensor:
    """Random fields of one band (b, c, h, w), each image's own, whose mean square is rms² in every image exactly."""
    white = placed_noise(shape, 0, "injected", band) * (bands.rings == band)
    return idct2(white * (rms / white.square().mean((1, 2, 3), keepdim=True).sqrt()))


@torch.no_grad()
def harms(images: Tensor, rms: float, bands: Bands, eyes: Eyes, advance: Callable[[int], None]) -> list[list[Harm]]:
    """For each band, what each metric says of images (b, 3, h, w) in [−1, 1] with an error of that band in them.

    Images are brought to `CONTRAST` first. PSNR is that of the unclamped error, and so equal in all bands.
    """
    target = images * CONTRAST
    known = eyes.extractor(target).double() if eyes.extractor else None
    rows = []
    for band in range(len(bands.counts)):
        output = target + band_error(tuple(images.shape), bands, band, rms).to(images)
        error = (output - target).square().mean((1, 2, 3))
        row = [
            Harm("PSNR", "dB", "higher", float((10 * (4 / error).log10()).mean())),
            Harm("CSF-weighted PSNR", "dB", "higher", float(csf_psnr(output, target, eyes.weights).mean())),
            Harm("SSIM", "", "higher", float(ssim(output, target).mean())),
        ]
        if eyes.perceptual:
            row.append(Harm("LPIPS", "", "lower", float(eyes.perceptual(output, target).mean())))
        if eyes.extractor and known is not None:
            spread = (known - known.mean(0)).square().sum(1).mean()
            moved = (eyes.extractor(output).double() - known).square().sum(1).mean()
            row.append(Harm(f"{eyes.extractor.name} features", "of their variance", "lower", float(moved / spread)))
        rows.append(row)
        advance(1)
    return rows
