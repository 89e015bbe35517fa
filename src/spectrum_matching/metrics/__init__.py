"""Scores: of images against images, of latents against the images they stand for, and of latents alone."""

from .catalogue import METRICS
from .decoder.lowpass import Lowpassed, legal_block, lowpass, scaled_strengths
from .images.catalogue import SCORES
from .images.fidelity import Fidelity
from .images.frechet import enough_for_influence, frechet_distance, frechet_influence, frechet_refusal
from .images.inception_score import inception_score, inception_sums
from .images.kernel_distance import kernel_distance
from .images.moments import RunningMoments
from .images.pixels import PSNR_CAP, SSIM_WINDOW, psnr, ssim
from .images.precision_recall import PrecisionRecall, precision_recall
from .images.sliced_wasserstein import laplacian_pyramid, patch_distance, sliced_wasserstein
from .images.spectrum_error import SpectrumError, band_frequencies, image_powers, spectrum_error
from .latents.block_dct import block_amplitudes, block_profile, high_share
from .latents.channels import (
    condition_number,
    correlation,
    dead_channels,
    effective_rank,
    outlier_channels,
    participation_ratio,
    tails,
    top_share,
)
from .latents.concentration import band_energy, concentration, white_concentration
from .latents.irreducible_variance import IrreducibleVariance, irreducible_variance, rank_refusal
from .latents.moments import Moments
from .latents.neighbours import chance_level, gsq, neighbour_consistency, pool
from .latents.spectra import (
    VARIANTS,
    Bands,
    Flattening,
    LatentStatistics,
    best_delta,
    fit_exponent,
    gaps,
    image_bands,
    shares,
    targets,
)
from .latents.structure import LatentNumbers, latent_numbers
from .latents.sweep import LatentBatch
from .latents.tokens import cds, distance_cosines, lds, lds_paper, local_correlation, neighbour_correlation, srss
from .metric import Metric

__all__ = [
    "METRICS",
    "PSNR_CAP",
    "SCORES",
    "SSIM_WINDOW",
    "VARIANTS",
    "Bands",
    "Fidelity",
    "Flattening",
    "IrreducibleVariance",
    "LatentBatch",
    "LatentNumbers",
    "LatentStatistics",
    "Lowpassed",
    "Metric",
    "Moments",
    "PrecisionRecall",
    "RunningMoments",
    "SpectrumError",
    "band_energy",
    "band_frequencies",
    "best_delta",
    "block_amplitudes",
    "block_profile",
    "cds",
    "chance_level",
    "concentration",
    "condition_number",
    "correlation",
    "dead_channels",
    "distance_cosines",
    "effective_rank",
    "enough_for_influence",
    "fit_exponent",
    "frechet_distance",
    "frechet_influence",
    "frechet_refusal",
    "gaps",
    "gsq",
    "high_share",
    "image_bands",
    "image_powers",
    "inception_score",
    "inception_sums",
    "irreducible_variance",
    "kernel_distance",
    "laplacian_pyramid",
    "latent_numbers",
    "lds",
    "lds_paper",
    "legal_block",
    "local_correlation",
    "lowpass",
    "neighbour_consistency",
    "neighbour_correlation",
    "outlier_channels",
    "participation_ratio",
    "patch_distance",
    "pool",
    "precision_recall",
    "psnr",
    "rank_refusal",
    "scaled_strengths",
    "shares",
    "sliced_wasserstein",
    "spectrum_error",
    "srss",
    "ssim",
    "tails",
    "targets",
    "top_share",
    "white_concentration",
]
