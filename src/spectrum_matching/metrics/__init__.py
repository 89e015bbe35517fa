"""Scores: of images against images, of latents against the images they stand for, and of latents alone."""

from .block_dct import block_amplitudes, block_profile, high_share
from .catalogue import METRICS
from .channels import (
    condition_number,
    correlation,
    dead_channels,
    effective_rank,
    outlier_channels,
    participation_ratio,
    tails,
    top_share,
)
from .concentration import band_energy, concentration, white_concentration
from .irreducible_variance import IrreducibleVariance, irreducible_variance, rank_refusal
from .latents import (
    VARIANTS,
    Bands,
    Flattening,
    LatentStatistics,
    Moments,
    best_delta,
    fit_exponent,
    gaps,
    image_bands,
    shares,
    targets,
)
from .lowpass import Lowpassed, legal_block, lowpass, scaled_strengths
from .metric import Metric, Number
from .neighbours import chance_level, gsq, neighbour_consistency, pool
from .pixels import PSNR_CAP, SSIM_WINDOW, psnr, ssim
from .structure import LatentNumbers, latent_numbers
from .sweep import LatentBatch
from .tokens import cds, distance_cosines, lds, lds_paper, local_correlation, neighbour_correlation, srss
from .uniformity import Uniformity, project, uniformity

__all__ = [
    "METRICS",
    "PSNR_CAP",
    "SSIM_WINDOW",
    "VARIANTS",
    "Bands",
    "Flattening",
    "IrreducibleVariance",
    "LatentBatch",
    "LatentNumbers",
    "LatentStatistics",
    "Lowpassed",
    "Metric",
    "Moments",
    "Number",
    "Uniformity",
    "band_energy",
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
    "fit_exponent",
    "gaps",
    "gsq",
    "high_share",
    "image_bands",
    "irreducible_variance",
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
    "pool",
    "project",
    "psnr",
    "rank_refusal",
    "scaled_strengths",
    "shares",
    "srss",
    "ssim",
    "tails",
    "targets",
    "top_share",
    "uniformity",
    "white_concentration",
]
