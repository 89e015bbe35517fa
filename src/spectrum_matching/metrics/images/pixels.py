"""PSNR and SSIM of images, one value an image; rounding to the 256 levels of a file."""

import torch
from torch import Tensor

PSNR_CAP = 100.0
"""PSNR of an exact pair, in dB, so that the mean over a set stays finite."""

SSIM_WINDOW = 11


def round_to_bytes(images: Tensor) -> Tensor:
    """Clamp images to [-1, 1] and round them to the nearest of the 256 levels that a file can hold."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


def _unit_range(images: Tensor) -> Tensor:
    """Map images from [-1, 1] to [0, 1], clamped."""
    return (images.float() + 1).div(2).clamp(0, 1)


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, at most 100: images (b, 3, H, W), clamped to [-1, 1] → (b,)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pair = _unit_range(output), _unit_range(target)
    values: Tensor = peak_signal_noise_ratio(*pair, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return values.clamp_max(PSNR_CAP)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity: images (b, 3, H, W), clamped to [-1, 1] → (b,).

    Gaussian windows of 11 pixels, sigma 1.5, that lie within the image. Source: Wang et al., Image Quality Assessment,
    IEEE TIP 13, 2004.

    Raises:
        ValueError: for images smaller than a window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(output.shape[-2:]) < SSIM_WINDOW:
        size = " x ".join(map(str, output.shape[-2:]))
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {size}")
    # The library's mean includes windows that reach into a mirrored border.
    pair = _unit_range(output), _unit_range(target)
    with torch.autocast(output.device.type, enabled=False):  # its convolutions would run in half precision
        _, everywhere = structural_similarity_index_measure(
            *pair, data_range=1.0, kernel_size=SSIM_WINDOW, return_full_image=True
        )
    margin = SSIM_WINDOW // 2
    return everywhere[..., margin:-margin, margin:-margin].mean((1, 2, 3))
