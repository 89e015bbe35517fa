"""Losses that bring a student's latents to those of a teacher: in mean square, and by frequency band.

Both take the student's posterior and, as latents, the teacher's: an encoding loss as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..spectrum.power import power_spectrum, radial_profile
from ..spectrum.separable import in_working_precision, require_alike
from .method import Posterior

if TYPE_CHECKING:
    from jaxtyping import Float

    Latents = Float[Tensor, "b c h w"]
    Scalar = Float[Tensor, ""]

SMALLEST = 1e-8
"""Power below which a band counts as empty."""


@dataclass(frozen=True)
class LatentMatch:
    """Mean square of the posterior's mean minus a teacher's latents, over these latents' variance in the batch.

    0 where they agree, 1 where the student gives their mean. Images are not used and may be None.
    """

    def __call__(self, posterior: Posterior, latents: Latents, images: Tensor | None = None) -> Scalar:
        """Return the loss, a scalar."""
        require_alike(posterior.mean, latents)
        student, teacher = in_working_precision(posterior.mean), in_working_precision(latents)
        return (student - teacher).square().mean() / (teacher - teacher.mean()).square().mean().clamp_min(SMALLEST)


@dataclass(frozen=True)
class BandMatch:
    """Power of the posterior's mean minus a teacher's latents, over the power of these latents, averaged over bands.

    Each radial band counts the same, however little of the energy it holds: a mean square alone lets a student give up
    high frequencies. DC is left out. bins: bands, of equal width in cycles per sample. Images are not used and may be
    None.
    """

    bins: int = 8

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"expected at least 1 bin, got {self.bins}")

    def __call__(self, posterior: Posterior, latents: Latents, images: Tensor | None = None) -> Scalar:
        """Return the loss, a scalar."""
        error, power = band_errors(posterior.mean, latents, self.bins)
        held = power > SMALLEST
        return torch.where(held, error / power.clamp_min(SMALLEST), 0).sum() / held.sum().clamp_min(1)


def band_errors(student: Latents, teacher: Latents, bins: int) -> tuple[Tensor, Tensor]:
    """Return the power in each band of student minus teacher, and of the teacher: (b, c, h, w) twice → (bins,) twice.

    Means over batch, channels and the coefficients of a band, without DC; 0 in a band without coefficients.
    """
    require_alike(student, teacher)
    student, teacher = in_working_precision(student), in_working_precision(teacher)
    spectra = (power_spectrum(x).mean((0, 1)) for x in (student - teacher, teacher))
    error, power = (radial_profile(spectrum, bins, "frequency", drop_dc=True) for spectrum in spectra)
    return error, power
