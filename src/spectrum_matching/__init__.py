"""Spectrum matching: losses, transforms and measurements for autoencoders whose latents are easy to diffuse."""

from .methods import (
    ESM,
    KL,
    Downscale,
    FeatureMatch,
    Identity,
    Method,
    Reconstruction,
    ScaleRotate,
    SpectralMask,
    Term,
    reconstruct,
    spectrum_distributions,
)
from .spectrum import (
    block_lowpass,
    dct2,
    difference_of_gaussians,
    directional_energy,
    fit_power_law,
    gaussian_blur,
    idct2,
    power_spectrum,
    radial_profile,
    resize,
    rmsc,
    spectrum_distribution,
)

__version__ = "0.1.0"

__all__ = [
    "ESM",
    "KL",
    "Downscale",
    "FeatureMatch",
    "Identity",
    "Method",
    "Reconstruction",
    "ScaleRotate",
    "SpectralMask",
    "Term",
    "block_lowpass",
    "dct2",
    "difference_of_gaussians",
    "directional_energy",
    "fit_power_law",
    "gaussian_blur",
    "idct2",
    "power_spectrum",
    "radial_profile",
    "reconstruct",
    "resize",
    "rmsc",
    "spectrum_distribution",
    "spectrum_distributions",
]
