"""Losses on the encoding side: KL to a unit Gaussian, and encoding spectrum matching (ESM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from ..spectrum.bands import VARIANTS, Variant, flatten_bands, kl_divergence, spectrum_distribution
from ..spectrum.dct import dct_matrix
from ..spectrum.filters import gaussian_matrix, resize_matrix
from ..spectrum.power import Radius, power_spectrum, radial_bins, radial_profile
from ..spectrum.separable import FLOAT64, apply_separable, constant, in_working_precision
from .method import Posterior
from .shapes import SEQUENCES, require_number, require_sequences, require_tensor, require_whole

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Latents = Float[Tensor, "b *latent"]
    Images = Float[Tensor, "b *image"]
    Bands = Float[Tensor, "b bins"]
    Scalar = Float[Tensor, ""]


ROUNDING = 1e-12
"""The share of a constant field's power that float32 may leave outside of DC."""


@dataclass(frozen=True)
class KL:
    """KL divergence of the posterior from a unit Gaussian, in nats, averaged over the batch.

    reduction: "mean" over the latents' elements, or their "sum" as in latent diffusion and in the paper's code. The two
    differ by the number of elements of a latent, so that beside a reconstruction loss that is a mean over pixels one
    weight of the sum is weaker for smaller latents. Latents and images are not used and may be None.
    """

    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {self.reduction!r}")

    def __call__(self, posterior: Posterior, latents: Tensor | None, images: Tensor | None) -> Scalar:
        """Return the divergence, a scalar."""
        mean, logvar = in_working_precision(posterior.mean), in_working_precision(posterior.logvar)
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
        return divergence.mean() if self.reduction == "mean" else divergence.sum() / len(mean)


@dataclass(frozen=True)
class ESM:
    """Encoding spectrum matching: KL(image spectrum flattened by f^delta ‖ latent spectrum), averaged over the batch.

    delta: flattening exponent; an image spectrum of 1/f^α asks for latents of 1/f^(α − delta). bins: radial bands.
    variant: "scale_free" or "paper", as in `spectrum_distributions`: with "paper" a delta means something only at a
    given scale of the latents, and images in [-1, 1]. A constant image says nothing and adds 0. The posterior is not
    used and may be None. Source: Spectrum Matching (arXiv 2603.14645).

    axis: of sequences, latents (b, c, n) or (b, n, d) and their signals: that along which spectra are taken.
    """

    delta: float = 1.0
    bins: int = 16
    variant: Variant = "scale_free"
    axis: int | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be 'paper' or 'scale_free', got {self.variant!r}")
        require_whole(bins=self.bins)
        require_number(delta=self.delta)
        if self.bins < 2:
            raise ValueError(f"expected at least 2 bins, got {self.bins}")

    def distributions(self, latents: Latents, images: Images) -> tuple[Bands, Bands]:
        """Return target and actual band distributions, both (b, bins)."""
        delta, bins, variant, axis = self.delta, self.bins, self.variant, self.axis
        return spectrum_distributions(latents, images, delta=delta, bins=bins, variant=variant, axis=axis)

    def __call__(self, posterior: Posterior | None, latents: Latents, images: Images) -> Scalar:
        """Return the loss, a scalar."""
        return kl_divergence(*self.distributions(latents, images)).mean()


class SpectrumBands(NamedTuple):
    """Bands that ESM compares, before flattening: mean power of images and latents.

    ranks (bins,): band numbers or frequencies, which flattening raises to the power delta. log_power: whether the
    variant takes log(1 + power).
    """

    images: Bands
    latents: Bands
    ranks: Float[Tensor, " bins"]
    log_power: bool


def spectrum_bands(
    latents: Latents,
    images: Images,
    *,
    bins: int = 16,
    variant: Variant = "scale_free",
    drop_dc: bool = True,
    axis: int | None = None,
) -> SpectrumBands:
    """Return the bands of latents (b, c, h, w) and images (b, 3, H, W), one row a sample; or of sequences along `axis`.

    Those of a constant field are 0.

    Raises:
        ValueError: where shapes do not match or a latent has a single position; for sequences whose axis is not said.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be 'paper' or 'scale_free', got {variant!r}")
    require_tensor(latents)
    require_tensor(images)
    if axis is not None:
        if variant == "paper":
            raise ValueError("variant 'paper' is defined for images alone: sequences take 'scale_free'")
        latents, images = _as_rows(latents, axis), _as_rows(images, axis)
    if latents.ndim != 4 or images.ndim != 4 or len(latents) != len(images):
        got = f"{tuple(latents.shape)} and {tuple(images.shape)}"
        expected = "expected latents (b, c, h, w) and images (b, 3, H, W) of one batch"
        raise ValueError(f"{expected}, got {got}{f'; {SEQUENCES}' if latents.ndim == 3 else ''}")
    h, w = latents.shape[-2:]
    if images.shape[-2] < h or images.shape[-1] < w:
        raise ValueError(f"images {tuple(images.shape)} are smaller than their latents {tuple(latents.shape)}")
    if h * w == 1:
        raise ValueError("a 1 x 1 latent has no spectrum; spectrum matching needs at least two positions")
    faithful = variant == "paper"
    latent_power = power_spectrum(latents).mean(1)
    image_power = paper_image_power(images, h, w) if faithful else power_spectrum(images, size=(h, w)).mean(1)
    image_varies, latent_varies = varies(images)[:, None], varies(latents)[:, None]
    if faithful and drop_dc:
        other = _all_but_dc(h, w, like=latent_power)
        image_power, latent_power, drop_dc = image_power * other, latent_power * other, False
    radius: Radius = "index" if faithful else "frequency"
    image_bands = radial_profile(image_power, bins, radius, drop_dc)
    latent_bands = radial_profile(latent_power, bins, radius, drop_dc)
    ranks = _band_numbers(bins, like=image_bands) if faithful else _ring_frequencies(h, w, bins, like=image_bands)
    return SpectrumBands(image_bands * image_varies, latent_bands * latent_varies, ranks, log_power=faithful)


def varies(x: Tensor) -> Bool[Tensor, " b"]:
    """Return whether each of (b, c, h, w) differs from its channels' means by more than rounding: (b,).

    A constant picture has a spectrum of rounding alone, which would weigh as much as any other's.
    """
    precise = in_working_precision(x.detach())
    level = precise.mean((-2, -1), keepdim=True)
    spread = (precise - level).square().mean((1, 2, 3))
    return spread > ROUNDING * precise.square().mean((1, 2, 3))


def spectrum_distributions(
    latents: Latents,
    images: Images,
    *,
    delta: float = 1.0,
    bins: int = 16,
    variant: Variant = "scale_free",
    drop_dc: bool = True,
    log_power: bool | None = None,
    axis: int | None = None,
) -> tuple[Bands, Bands]:
    """Return the flattened band distribution of the images and that of the latents, one row a sample.

    latents (b, c, h, w), images (b, 3, H, W) → target (b, bins), actual (b, bins), float32 or float64.

    variant "paper" does what the paper's code does: images blurred (7 taps, sigma 1.2, zeros beyond the border; not
    where h is 32) and resized bicubically without antialiasing; DC counted as a coefficient of power 0; flattening by
    the band's number 1 … bins; log(1 + power) before normalising. It depends on the scale of the latents.
    variant "scale_free" takes the images' own DCT power up to the latent grid's Nyquist frequency, leaves DC out,
    flattens by frequency in cycles per sample and takes no logarithm: scaling the latents changes nothing.

    drop_dc: leave out coefficient (0, 0), which is the same as centring each plane. log_power: override the variant's
    choice. axis: of sequences, as in `ESM`.

    Raises:
        ValueError: as `spectrum_bands` does.
    """
    bands = spectrum_bands(latents, images, bins=bins, variant=variant, drop_dc=drop_dc, axis=axis)
    if log_power is None:
        log_power = bands.log_power
    target = spectrum_distribution(flatten_bands(bands.images, bands.ranks, delta), log_power)
    return target, spectrum_distribution(bands.latents, log_power)


def _as_rows(x: Tensor, axis: int) -> Tensor:
    """Return sequences (b, n), (b, c, n) or (b, n, d) as fields of one row, (b, c, 1, n)."""
    require_sequences(x, axis)
    rows = x.movedim(axis, -1).unsqueeze(-2)
    return rows if rows.ndim == 4 else rows.unsqueeze(1)


def paper_image_power(images: Images, h: int, w: int) -> Float[Tensor, "b h w"]:
    """Return the images' power on the latents' grid as the paper's code computes it: (b, 3, H, W) → (b, h, w)."""
    images = in_working_precision(images)
    rows = _paper_image_matrix(images.shape[-2], h, h, like=images)
    columns = _paper_image_matrix(images.shape[-1], w, h, like=images)
    return apply_separable(images, rows, columns).square().mean(1)


@constant
def _paper_image_matrix(n: int, size: int, h: int) -> Tensor:
    """(size, n): blur (not where the latents' height h is 32), bicubic resize and DCT of one axis."""
    matrix = dct_matrix(size, like=FLOAT64) @ resize_matrix(n, size, "bicubic", False, like=FLOAT64)
    return matrix @ gaussian_matrix(n, 1.2, 3, "zeros", like=FLOAT64) if h != 32 else matrix


@constant
def _ring_frequencies(h: int, w: int, bins: int) -> Tensor:
    return radial_bins(h, w, bins, "frequency").frequencies


@constant
def _band_numbers(bins: int) -> Tensor:
    return torch.arange(1, bins + 1)


@constant
def _all_but_dc(h: int, w: int) -> Tensor:
    """(h, w): 0 at DC, 1 elsewhere."""
    mask = torch.ones(h, w)
    mask[0, 0] = 0
    return mask
