"""Methods as pairs of encoding-side losses and a shared transform: a library for anyone's trainer."""

from . import zoo
from .distillation import BandMatch, LatentMatch
from .encoding_losses import ESM, KL, spectrum_distributions
from .feature_match import FeatureMatch, feature_gap
from .method import (
    Added,
    Draw,
    EncodingLoss,
    Method,
    Posterior,
    Reconstruction,
    SharedTransform,
    TensorMap,
    Term,
    balance,
    reconstruct,
)
from .models import Gaussian, images_of, posterior_of
from .shared_transforms import Downscale, Identity, ScaleRotate, SpectralMask
from .zoo import METHODS, autoencoder, dsm, eq_vae, esm, esm_dsm, scale_equivariance, sd_vae, va_vae

__all__ = [
    "ESM",
    "KL",
    "METHODS",
    "Added",
    "BandMatch",
    "Downscale",
    "Draw",
    "EncodingLoss",
    "FeatureMatch",
    "Gaussian",
    "Identity",
    "LatentMatch",
    "Method",
    "Posterior",
    "Reconstruction",
    "ScaleRotate",
    "SharedTransform",
    "SpectralMask",
    "TensorMap",
    "Term",
    "autoencoder",
    "balance",
    "dsm",
    "eq_vae",
    "esm",
    "esm_dsm",
    "feature_gap",
    "images_of",
    "posterior_of",
    "reconstruct",
    "scale_equivariance",
    "sd_vae",
    "spectrum_distributions",
    "va_vae",
    "zoo",
]
