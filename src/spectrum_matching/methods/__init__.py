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
    reconstruct,
)
from .shared_transforms import Downscale, Identity, ScaleRotate, SpectralMask
from .zoo import METHODS

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
    "feature_gap",
    "reconstruct",
    "spectrum_distributions",
    "zoo",
]
