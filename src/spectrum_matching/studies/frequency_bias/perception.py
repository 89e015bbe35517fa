"""What image metrics make of denoised estimates, and of equal errors put into one band at a time."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ...metrics.decoder.noise import placed_noise
from ...metrics.images.pixels import psnr, ssim
from ...nets.vision.extractors import Extractor
from ...nets.vision.perceptual import LPIPS
from ...spectrum.dct import dct2, idct2
from .band_errors import Bands
from .fields import coefficient_frequencies
from .record import Sight

PEAK_DB = 20 * math.log10(2)  # of images in a range of 2


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


def contrast_sensitivity(cycles_per_degree: Tensor) -> Tensor:
    """2.6·(0.0192 + 0.114·f)·exp(−(0.114·f)^1.1), about 1 at its peak near 8 cycles per degree.

    Source: Mannos and Sakrison, The Effects of a Visual Fidelity Criterion on the Encoding of Images, IEEE
    Transactions on Information Theory 20, 1974.
    """
    scaled = 0.114 * cycles_per_degree
    return 2.6 * (0.0192 + scaled) * torch.exp(-(scaled**1.1))


def sensitivity_weights(h: int, w: int, pixels_per_degree: float) -> Tensor:
    """Squared sensitivity of each DCT coefficient, mean 1: (h, w), float64. DC counts as the lowest other frequency."""
    weights = contrast_sensitivity(coefficient_frequencies(h, w) * pixels_per_degree).square()
    return weights / weights.mean()


def csf_psnr(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """PSNR in dB of images (b, c, h, w) in [−1, 1] whose squared DCT errors are weighted, (h, w) of mean 1 → (b,).

    Nothing is clamped; all three colours weigh alike.
    """
    error = (dct2(output - target).square() * weights.to(output)).mean((1, 2, 3))
    return PEAK_DB - 10 * error.log10()
