"""How near images are to images, pixel by pixel: PSNR and SSIM, one value an image."""

import torch
from torch import Tensor

PSNR_CAP = 100.0
"""PSNR of an exact pair, in dB, so that the mean over a set stays finite."""

SSIM_WINDOW = 11


def _unit_range(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], clamped."""
    return (images.float() + 1).div(2).clamp(0, 1)


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB: images (b, 3, H, W) in [-1, 1], both clamped to it → (b,), at most 100."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pair = _unit_range(output), _unit_range(target)
    values: Tensor = peak_signal_noise_ratio(*pair, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return values.clamp_max(PSNR_CAP)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity: images (b, 3, H, W) in [-1, 1], both clamped to it → (b,).

    Gaussian windows of 11 pixels, sigma 1.5, that lie whole within the image. ValueError for smaller images. Source:
    Wang et al., Image Quality Assessment, IEEE TIP 13, 2004.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(output.shape[-2:]) < SSIM_WINDOW:
        size = " x ".join(map(str, output.shape[-2:]))
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {size}")
    # Its own mean counts windows that reach into a mirrored border.
    pair = _unit_range(output), _unit_range(target)
    with torch.autocast(output.device.type, enabled=False):  # its convolutions would run in half precision
        _, everywhere = structural_similarity_index_measure(
            *pair, data_range=1.0, kernel_size=SSIM_WINDOW, return_full_image=True
        )
    margin = SSIM_WINDOW // 2
    return everywhere[..., margin:-margin, margin:-margin].mean((1, 2, 3))
