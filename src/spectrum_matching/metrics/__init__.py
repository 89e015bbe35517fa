"""Scores: of images against images, and of latents against the images they stand for."""

from .latents import (
    VARIANTS,
    Bands,
    Flattening,
    LatentStatistics,
    Moments,
    best_delta,
    fit_exponent,
    gaps,
    image_bands,
    shares,
    targets,
)
from .lowpass import Lowpassed, legal_block, lowpass, scaled_strengths
from .pixels import PSNR_CAP, psnr, ssim

__all__ = [
    "PSNR_CAP",
    "VARIANTS",
    "Bands",
    "Flattening",
    "LatentStatistics",
    "Lowpassed",
    "Moments",
    "best_delta",
    "fit_exponent",
    "gaps",
    "image_bands",
    "legal_block",
    "lowpass",
    "psnr",
    "scaled_strengths",
    "shares",
    "ssim",
    "targets",
]
