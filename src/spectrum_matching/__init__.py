"""Spectrum matching: losses, transforms and measurements for autoencoders whose latents are easy to diffuse.

Names are imported when they are first used, so that `specmatch --help` does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .methods import (
        ESM,
        KL,
        METHODS,
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
        zoo,
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

    __version__: str

__all__ = [
    "ESM",
    "KL",
    "METHODS",
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
    "zoo",
]


def __getattr__(name: str) -> object:
    """Import a public name from the room that defines it."""
    if name == "__version__":
        from importlib.metadata import version

        return version("spectrum-matching")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import methods, spectrum

    return getattr(methods if hasattr(methods, name) else spectrum, name)


def __dir__() -> list[str]:
    """List the public names for completion, without importing them."""
    return [*__all__, "__version__"]
