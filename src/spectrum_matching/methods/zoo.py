"""The unified view: every method as a pair of encoding-side terms and a shared transform, one function for each row."""

from collections.abc import Callable
from typing import Literal

from ..spectrum.bands import Variant
from .encoding_losses import ESM, KL
from .feature_match import FeatureMatch, Features
from .method import Method, Term
from .shared_transforms import Downscale, Identity, ScaleRotate, SpectralMask

SPECTRUM_MATCHING = "Ning et al., Spectrum Matching, 2026, arXiv 2603.14645"
LATENT_DIFFUSION = (
    "Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv 2112.10752"
)
DIFFUSABILITY = "Skorokhodov et al., Improving the Diffusability of Autoencoders, 2025, arXiv 2502.14831"
EQUIVARIANCE = "Kouzelis et al., EQ-VAE, 2025, arXiv 2502.09509"
ALIGNMENT = (
    "Yao et al., Reconstruction vs. Generation: Taming Optimization Dilemma in Latent Diffusion Models, 2025, "
    "arXiv 2501.01423"
)
CONTROL = "Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313, 2006"

Reduction = Literal["mean", "sum"]


def autoencoder() -> Method:
    """Return the control: reconstruction alone."""
    return Method("autoencoder", (), Identity(), CONTROL)


def sd_vae(kl_weight: float = 1e-6, kl_reduction: Reduction = "sum") -> Method:
    """Return SD-VAE: KL alone. The default weight and reduction are those of the paper's baseline."""
    return Method("sd_vae", (Term("kl", KL(kl_reduction), kl_weight),), Identity(), LATENT_DIFFUSION)


def esm(esm_weight: float = 0.01, delta: float = 1.0, bins: int = 16, variant: Variant = "paper") -> Method:
    """Return encoding spectrum matching."""
    return Method("esm", (Term("esm", ESM(delta, bins, variant), esm_weight),), Identity(), SPECTRUM_MATCHING)


def dsm(keep: tuple[int, ...] = (15, 7, 5, 3), block: int = 8) -> Method:
    """Return decoding spectrum matching."""
    return Method("dsm", (), SpectralMask(keep, block), SPECTRUM_MATCHING)


def esm_dsm(
    esm_weight: float = 0.01,
    delta: float = 1.0,
    bins: int = 16,
    variant: Variant = "paper",
    keep: tuple[int, ...] = (15, 7, 5, 3),
    block: int = 8,
) -> Method:
    """Return both sides of spectrum matching."""
    terms = (Term("esm", ESM(delta, bins, variant), esm_weight),)
    return Method("esm_dsm", terms, SpectralMask(keep, block), SPECTRUM_MATCHING)


def scale_equivariance(
    kl_weight: float = 1e-6, kl_reduction: Reduction = "sum", factors: tuple[int, ...] = (1, 2, 4)
) -> Method:
    """Return Scale Equivariance: KL, and reconstruction of downscaled images from downscaled latents."""
    return Method("scale_equivariance", (Term("kl", KL(kl_reduction), kl_weight),), Downscale(factors), DIFFUSABILITY)


def eq_vae(kl_weight: float = 1e-6, kl_reduction: Reduction = "sum", probability: float = 0.5) -> Method:
    """Return EQ-VAE: KL, and reconstruction of scaled and rotated images from latents transformed in the same way."""
    terms = (Term("kl", KL(kl_reduction), kl_weight),)
    return Method("eq_vae", terms, ScaleRotate(probability=probability), EQUIVARIANCE)


def va_vae(
    encoder: Features,
    width: int,
    channels: int,
    feature_weight: float = 0.1,
    cosine_margin: float = 0.5,
    distance_margin: float = 0.25,
    kl_weight: float = 1e-6,
    kl_reduction: Reduction = "sum",
    seed: int = 0,
) -> Method:
    """Return VA-VAE: KL, and latents (`channels` channels) matched to a vision encoder's features (`width` channels).

    The defaults are VA-VAE's numbers. Its reconstruction losses are sums over pixels: beside means, the same weight of
    KL is 196,608 times as strong at 256 × 256; the balanced feature match is unaffected.
    """
    match = FeatureMatch(encoder, width, channels, cosine_margin, distance_margin, seed)
    terms = (Term("kl", KL(kl_reduction), kl_weight), Term("features", match, feature_weight, balanced=True))
    return Method("va_vae", terms, Identity(), ALIGNMENT)


METHODS: dict[str, Callable[..., Method]] = {
    make.__name__: make for make in (autoencoder, sd_vae, esm, dsm, esm_dsm, scale_equivariance, eq_vae, va_vae)
}
