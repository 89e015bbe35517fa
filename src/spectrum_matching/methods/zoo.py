"""The unified view: every method as a pair of encoding-side terms and a shared transform, one function for each row."""

from collections.abc import Callable
from dataclasses import replace

from ..spectrum.bands import Variant
from .encoding_losses import ESM, KL
from .feature_match import FeatureMatch, Features
from .method import Added, Method, Term
from .shared_transforms import Downscale, Identity, Interpolation, ScaleRotate, SpectralMask

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

KL_WEIGHT = 1e-6 * 4096
"""The paper's KL, as a weight of the mean over a latent's elements beside a mean over pixels.

Its code sums over the 4,096 elements that a latent of 256 × 256 pixels has at f8d4 and at f16d16, with weight 1e-6.
With the mean, one weight has the same strength against the reconstruction at every size. As a weight of the sum it is
1e-6 there, and 8e-6 for the 512 elements of 32 × 32 pixels at f4d8.
"""


def autoencoder() -> Method:
    """Return the control: reconstruction alone."""
    return Method("autoencoder", (), Identity(), CONTROL)


def sd_vae(kl_weight: float = KL_WEIGHT) -> Method:
    """Return SD-VAE: KL alone, at the strength of the paper's baseline."""
    return Method("sd_vae", (Term("kl", KL(), kl_weight),), Identity(), LATENT_DIFFUSION)


def esm(esm_weight: float = 0.01, delta: float = 1.0, bins: int = 16, variant: Variant = "scale_free") -> Method:
    """Return encoding spectrum matching. The paper's own loss is variant "paper"."""
    return Method("esm", (Term("esm", ESM(delta, bins, variant), esm_weight),), Identity(), SPECTRUM_MATCHING)


def dsm(keep: tuple[int, ...] | None = None, block: int = 8) -> Method:
    """Return decoding spectrum matching."""
    return Method("dsm", (), SpectralMask(keep, block), SPECTRUM_MATCHING)


def esm_dsm(
    esm_weight: float = 0.01,
    delta: float = 1.0,
    bins: int = 16,
    variant: Variant = "scale_free",
    keep: tuple[int, ...] | None = None,
    block: int = 8,
) -> Method:
    """Return both sides of spectrum matching."""
    terms = (Term("esm", ESM(delta, bins, variant), esm_weight),)
    return Method("esm_dsm", terms, SpectralMask(keep, block), SPECTRUM_MATCHING)


def scale_equivariance(
    kl_weight: float = KL_WEIGHT, added_weight: float = 0.25, factors: tuple[int, ...] = (2, 3, 4)
) -> Method:
    """Return Scale Equivariance: KL, and an added reconstruction of downscaled images from downscaled latents."""
    added = Added(Downscale(factors), added_weight)
    return Method("scale_equivariance", (Term("kl", KL(), kl_weight),), Identity(), DIFFUSABILITY, added)


def eq_vae(
    kl_weight: float = KL_WEIGHT,
    probability: float = 0.5,
    prior: float = 0.25,
    interpolation: Interpolation = "bilinear",
) -> Method:
    """Return EQ-VAE: KL, and reconstruction of scaled and rotated images from latents transformed in the same way.

    prior: probability, among the steps without a transform, of shrinking the images before they are encoded. The
    interpolation is that of EQ-VAE's code; its paper says bicubic.
    """
    shared = ScaleRotate(probability=probability, interpolation=interpolation)
    before = replace(shared, turns=(0,), probability=prior)
    return Method("eq_vae", (Term("kl", KL(), kl_weight),), shared, EQUIVARIANCE, before=before)


def va_vae(
    encoder: Features,
    width: int,
    channels: int,
    feature_weight: float = 0.1,
    cosine_margin: float = 0.5,
    distance_margin: float = 0.25,
    kl_weight: float = KL_WEIGHT,
    seed: int = 0,
) -> Method:
    """Return VA-VAE: KL, and latents (`channels` channels) matched to a vision encoder's features (`width` channels).

    Weight and margins of the feature match are VA-VAE's. Its KL, 1e-6 beside reconstruction losses that are sums over
    pixels, is 98,304 times weaker (f16d32 at 256 × 256) than the default, which is that of the other rows.
    """
    match = FeatureMatch(encoder, width, channels, cosine_margin, distance_margin, seed)
    terms = (Term("kl", KL(), kl_weight), Term("features", match, feature_weight, balanced=True))
    return Method("va_vae", terms, Identity(), ALIGNMENT)


METHODS: dict[str, Callable[..., Method]] = {
    make.__name__: make for make in (autoencoder, sd_vae, esm, dsm, esm_dsm, scale_equivariance, eq_vae, va_vae)
}
