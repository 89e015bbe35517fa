"""How well eyes see a contrast, by its spatial frequency."""

import math

import torch
from torch import Tensor

from ..spectrum.dct import dct2
from .fields import coefficient_frequencies

PEAK_DB = 20 * math.log10(2)  # of images in a range of 2


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
