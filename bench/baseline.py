"""Spectrum matching as the paper describes it, taken literally: FFTs, convolutions, blocks. The yardstick of `bench/`.

It stands for how such losses are written at first: the DCT through a complex FFT with its tables made anew at each
call, two transforms with transposes between them for two dimensions, one convolution for the blur, a scatter for the
rings, and blocks that are unfolded, transformed, masked and transformed back.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def _table(n: int, like: Tensor) -> Tensor:
    return torch.exp(-1j * math.pi / (2 * n) * torch.arange(n, device=like.device))


def _scale(n: int, like: Tensor) -> Tensor:
    scale = torch.full((n,), math.sqrt(2 / n), device=like.device)
    scale[0] = math.sqrt(1 / n)
    return scale


def dct(x: Tensor) -> Tensor:
    """Orthonormal DCT-II of the last axis: even samples forwards, odd ones backwards, one complex FFT."""
    n = x.shape[-1]
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    return (torch.fft.fft(folded) * _table(n, x)).real * _scale(n, x)


def idct(coefficients: Tensor) -> Tensor:
    """Inverse of `dct`."""
    n = coefficients.shape[-1]
    unscaled = coefficients / _scale(n, coefficients)
    mirrored = torch.cat([torch.zeros_like(unscaled[..., :1]), unscaled[..., 1:].flip(-1)], -1)
    folded = torch.fft.ifft(torch.complex(unscaled, -mirrored) * _table(n, coefficients).conj()).real
    x = torch.empty_like(folded)
    x[..., ::2] = folded[..., : (n + 1) // 2]
    x[..., 1::2] = folded[..., (n + 1) // 2 :].flip(-1)
    return x


def dct2(x: Tensor) -> Tensor:
    return dct(dct(x).transpose(-1, -2)).transpose(-1, -2)


def idct2(coefficients: Tensor) -> Tensor:
    return idct(idct(coefficients).transpose(-1, -2)).transpose(-1, -2)


def blur(images: Tensor, taps: int = 7, sigma: float = 1.2) -> Tensor:
    """Gaussian, one two-dimensional convolution for each channel, zeros beyond the border."""
    offset = torch.arange(taps, device=images.device) - (taps - 1) / 2
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = torch.outer(kernel, kernel)
    channels = images.shape[1]
    weight = (kernel / kernel.sum()).expand(channels, 1, taps, taps)
    return functional.conv2d(images, weight, padding=taps // 2, groups=channels)


def bands(x: Tensor, bins: int) -> Tensor:
    """Centred, DCT, squared, averaged over channels, DC zeroed, averaged over rings: (b, c, h, w) → (b, bins)."""
    power = dct2(x - x.mean((-2, -1), keepdim=True)).square().mean(1)
    h, w = power.shape[-2:]
    not_dc = torch.ones(h, w, device=x.device)
    not_dc[0, 0] = 0
    power = power * not_dc
    u, v = torch.arange(h, device=x.device)[:, None], torch.arange(w, device=x.device)
    radius = torch.sqrt((u**2 + v**2).float())
    ring = (radius / radius.max() * bins).long().clamp_max(bins - 1).flatten()
    total = torch.zeros(len(x), bins, device=x.device).scatter_add(1, ring.expand(len(x), -1), power.flatten(1))
    counts = torch.zeros(bins, device=x.device).scatter_add(0, ring, torch.ones(h * w, device=x.device))
    return total / counts.clamp_min(1)


def esm(latents: Tensor, images: Tensor, delta: float = 1.0, bins: int = 16) -> Tensor:
    """Encoding spectrum matching, evaluated once: latents (b, c, h, w), images (b, 3, H, W) → scalar."""
    h, w = latents.shape[-2:]
    if h != 32:
        images = blur(images)
    images = functional.interpolate(images, (h, w), mode="bicubic", align_corners=False)
    number = torch.arange(1, bins + 1, device=latents.device)
    target = torch.log1p(bands(images, bins) * number**delta)
    actual = torch.log1p(bands(latents, bins))
    target = target / target.sum(1, keepdim=True)
    actual = actual / actual.sum(1, keepdim=True)
    return (target * (target.clamp_min(1e-12).log() - actual.clamp_min(1e-12).log())).sum(1).mean()


def block_lowpass(x: Tensor, keep: int, block: int = 8) -> Tensor:
    """Decoding spectrum matching's filter: (b, c, h, w) → (b, c, h, w)."""
    blocks = x.unfold(-2, block, block).unfold(-2, block, block)
    coefficients = dct2(blocks.contiguous())
    index = torch.arange(block, device=x.device)
    mask = (index[:, None] + index < keep).float()
    low = idct2(coefficients * mask)
    return low.transpose(-3, -2).reshape(x.shape)
