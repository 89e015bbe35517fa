"""Pure tensor functions on spectra: nothing but torch."""

from .bands import flatten_bands, kl_divergence, spectrum_distribution
from .block_lowpass import block_lowpass, merge_blocks, sequence_lowpass, split_blocks
from .contrast import directional_energy, directional_spectrum, rmsc, unit_tokens
from .dct import dct2, idct2
from .filters import difference_of_gaussians, gaussian_blur, resize
from .power import RadialBins, power_spectrum, radial_bins, radial_profile
from .powerlaw import PowerLaw, fit_power_law

__all__ = [
    "PowerLaw",
    "RadialBins",
    "block_lowpass",
    "dct2",
    "difference_of_gaussians",
    "directional_energy",
    "directional_spectrum",
    "fit_power_law",
    "flatten_bands",
    "gaussian_blur",
    "idct2",
    "kl_divergence",
    "merge_blocks",
    "power_spectrum",
    "radial_bins",
    "radial_profile",
    "resize",
    "rmsc",
    "sequence_lowpass",
    "spectrum_distribution",
    "split_blocks",
    "unit_tokens",
]
