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

SMALLEST = 1e-12
"""Share of the mean square of the teacher's latents up to which power counts as none: that of rounding in float32, in
the DCT of constant latents, is a tenth of it or less."""


@dataclass(frozen=True)
class LatentMatch:
    """Mean square of the posterior's mean minus a teacher's latents, over these latents' variance in the batch.

    0 where they agree, 1 where the student gives their mean, at any scale of the teacher. Latents whose variance is at
    most 1e-12 of their mean square are constant, and the loss is 0. Images are not used and may be None.
    """

    def __call__(self, posterior: Posterior, latents: Latents, images: Tensor | None = None) -> Scalar:
        """Return the loss, a scalar."""
        require_alike(posterior.mean, latents)
        student, teacher = in_working_precision(posterior.mean), in_working_precision(latents)
        _, share = _shares((student - teacher).square().mean(), (teacher - teacher.mean()).square().mean(), teacher)
        return share


@dataclass(frozen=True)
class BandMatch:
    """Power of the posterior's mean minus a teacher's latents, over the power of these latents, averaged over bands.

    Each radial band counts the same, however little of the energy it holds: a mean square alone lets a student give up
    high frequencies. Left out are DC, and bands of at most 1e-12 of the mean square of these latents, where nothing but
    rounding is left. bins: bands, of equal width in cycles per sample. Images are not used and may be None.
    """

    bins: int = 8

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"expected at least 1 bin, got {self.bins}")

    def __call__(self, posterior: Posterior, latents: Latents, images: Tensor | None = None) -> Scalar:
        """Return the loss, a scalar."""
        error, power = band_errors(posterior.mean, latents, self.bins)
        held, shares = _shares(error, power, in_working_precision(latents))
        return shares.sum() / held.sum().clamp_min(1)


def _shares(error: Tensor, power: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the teacher has power, and error over power, 0 where it has none: two tensors of one shape."""
    held = power > SMALLEST * teacher.square().mean()
    return held, torch.where(held, error / torch.where(held, power, 1), 0)  # no division by 0, whose gradient is NaN


def band_errors(student: Latents, teacher: Latents, bins: int) -> tuple[Tensor, Tensor]:
    """Return the power in each band of student minus teacher, and of the teacher: (b, c, h, w) twice → (bins,) twice.

    Means over batch, channels and the coefficients of a band, without DC; 0 in a band without coefficients.
    """
    require_alike(student, teacher)
    student, teacher = in_working_precision(student), in_working_precision(teacher)
    spectra = (power_spectrum(x).mean((0, 1)) for x in (student - teacher, teacher))
    error, power = (radial_profile(spectrum, bins, "frequency", drop_dc=True) for spectrum in spectra)
    return error, power
