"""Contrast sensitivity, and what image metrics make of equal errors in one band at a time."""

from collections import defaultdict
from typing import Literal

import torch
from torch import Tensor

from ...metrics.images.pixels import ssim
from ...metrics.ranks import rank_correlation
from ...nets.vision.extractors import Extractor
from ...seeding import indexed_noise
from ...spectrum.dct import dct2, idct2
from ...spectrum.power import RadialBins
from .fields import coefficient_frequencies
from .record import InjectedErrors, MetricByBand, to_five_digits

RMS = 0.08
CONTRAST = 0.6
"""Scale of images before errors are added, so that no value leaves its range and metrics clamp nothing."""


def contrast_sensitivity(cycles_per_degree: Tensor) -> Tensor:
    """Return 2.6·(0.0192 + 0.114·f)·exp(−(0.114·f)^1.1), about 1 at its peak near 8 cycles per degree.

    Source: Mannos and Sakrison, The Effects of a Visual Fidelity Criterion on the Encoding of Images, IEEE
    Transactions on Information Theory 20, 1974.
    """
    scaled = 0.114 * cycles_per_degree
    return 2.6 * (0.0192 + scaled) * torch.exp(-(scaled**1.1))


def sensitivity_weights(h: int, w: int, pixels_per_degree: float, delta: float = 0.0) -> Tensor:
    """Return squared sensitivity to each DCT coefficient, mean 1: (h, w), float64.

    delta: of fields whose power was multiplied by f^delta, as seen once this is undone.
    """
    frequencies = coefficient_frequencies(h, w)
    weights = contrast_sensitivity(frequencies * pixels_per_degree).square() * frequencies**-delta
    return weights / weights.mean()


def csf_psnr(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the PSNR in dB of images (b, c, h, w) in [−1, 1] with squared DCT errors weighted by (h, w): (b,).

    Nothing is clamped, and the three colours weigh the same.
    """
    error = (dct2(output - target).square() * weights.to(output)).mean((1, 2, 3))
    return 10 * (4 / error).log10()


def band_error(shape: tuple[int, ...], bands: RadialBins, band: int, rms: float) -> Tensor:
    """Return a random field (b, c, h, w) of one band for each image, whose mean square is exactly rms²."""
    white = indexed_noise(shape, range(shape[0]), "injected", band) * (bands.rings == band)
    return idct2(white * (rms / white.square().mean((1, 2, 3), keepdim=True).sqrt()))


@torch.no_grad()
def evaluate_injected_errors(
    images: Tensor, bands: RadialBins, weights: Tensor, extractor: Extractor | None = None
) -> InjectedErrors:
    """Add errors to images (b, 3, h, w) in [−1, 1], one band at a time, and evaluate every metric.

    weights (h, w): squared contrast sensitivity, mean 1. extractor: adds the change of features.
    PSNR is that of the unclamped error, and so equal in all bands.
    """
    target = images * CONTRAST
    features = extractor(target).double() if extractor else torch.empty(0)
    values: dict[tuple[str, str, Literal["higher", "lower"]], list[float]] = defaultdict(list)
    for band in range(len(bands.counts)):
        output = target + band_error(tuple(images.shape), bands, band, RMS).to(images)
        plain = torch.ones_like(weights)
        values["PSNR", "dB", "higher"].append(float(csf_psnr(output, target, plain).mean()))
        values["CSF-weighted PSNR", "dB", "higher"].append(float(csf_psnr(output, target, weights).mean()))
        values["SSIM", "", "higher"].append(float(ssim(output, target).mean()))
        if extractor:
            change = (extractor(output).double() - features).square().sum(1).mean()
            spread = (features - features.mean(0)).square().sum(1).mean()
            title = f"{extractor.name} features"
            values[title, "of their variance", "lower"].append(float(change / spread))
    frequencies = tuple(bands.frequencies.tolist())
    by_metric = []
    for (metric, unit, better), numbers in values.items():
        damage = to_five_digits([-value if better == "higher" else value for value in numbers])
        by_metric.append(MetricByBand(metric, unit, better, tuple(numbers), rank_correlation(frequencies, damage)))
    return InjectedErrors(frequencies, RMS, CONTRAST, len(images), tuple(by_metric))
