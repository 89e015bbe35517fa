"""Every metric by its key, in the order in which it is worth reading.

Reconstruction first, as latents are nothing without it, then by cost and evidence for a few hundred images without
labels.
"""

from dataclasses import replace

from .images.fidelity import LPIPS_METRIC, PSNR_METRIC, SSIM_METRIC
from .images.frechet import RFID_METRIC
from .latents import catalogue as latents
from .latents.catalogue import IREPA, NONE
from .metric import Metric

SPECTRUM_MATCHING = "Spectrum Matching (arXiv 2603.14645)"

EXPONENT = Metric(
    key="exponent",
    title="power-law exponent of the latents",
    unit="",
    better="target",
    range="0 (white) to about 3; photographs near 2",
    one_sided=False,
    source=SPECTRUM_MATCHING,
    evidence=NONE + " as a predictor; diffusion generates coarse to fine, so a spectrum that falls is held to help",
    conventions="1/f^α in power, bands without DC weighted by 1/f; raw latents",
)
BEST_DELTA = Metric(
    key="best_delta",
    title="flattening of the images' spectrum that fits best",
    unit="",
    better="target",
    range="−0.5 to 2.5 searched; 0 keeps the images' spectrum, over-smooth below it, over-noisy well above 1",
    one_sided=False,
    source=SPECTRUM_MATCHING,
    evidence=NONE + " beyond the paper's own training runs",
    conventions="scale-free variant: frequencies, no logarithm, no DC; interval by bootstrap over images",
)
GAP = replace(
    BEST_DELTA,
    key="gap_scale_free_1",
    title="spectrum gap at delta 1, scale-free",
    unit="nats",
    better="lower",
    range="from 0 on; large for over-smooth and over-noisy latents alike",
    conventions="KL(flattened image spectrum ‖ latent spectrum) per image, 16 bands, no DC; any latent scale",
)
GAP_PAPER = replace(
    GAP,
    key="gap_paper_1",
    title="spectrum gap at delta 1, as in the paper's code",
    conventions="blurred and bicubic image, band numbers, log(1 + power): depends on the scale of the latents",
)
RMSC = Metric(
    key="rmsc",
    title="RMS spatial contrast",
    unit="",
    better="neither",
    range="0 to 1; √(1 − 1/cells) for white noise, so noise is at the top",
    one_sided=False,
    source=f"{IREPA}; as directional energy {SPECTRUM_MATCHING}",
    evidence="|r| with gFID 0.89 over 27 encoders as alignment targets; says little of latents, which all sit near 1",
    conventions="raw latents, unit tokens of one cell, square root taken",
)
DIRECTIONAL = replace(
    RMSC,
    key="directional_energy",
    title="directional spectral energy",
    range="0 to 1; 1 − 1/cells for white noise",
    source=SPECTRUM_MATCHING,
    conventions="raw latents, unit tokens of one cell; power beyond DC, the square of the RMS spatial contrast",
)
STD = Metric(
    key="std",
    title="standard deviation of the latents",
    unit="latent units",
    better="neither",
    range="from 0 on",
    one_sided=False,
    source="convention",
    evidence=NONE + "; a diffusion model wants 1 after the declared scaling",
    conventions="over images, channels and cells together, before any scaling factor",
)
LOWPASS = Metric(
    key="lowpass_gap",
    title="low-pass alignment gap",
    unit="dB",
    better="lower",
    range="about 0 to 20",
    one_sided=True,
    source=f"{SPECTRUM_MATCHING}; in PSNR for want of images enough for FID",
    evidence=NONE,
    conventions="PSNR of the low-passed output minus that of the decoded low-passed latents; 7 of 15 diagonals kept",
)
NOISE = Metric(
    key="noise_psnr",
    title="PSNR after noise on the latents",
    unit="dB",
    better="higher",
    range="0 to 100",
    one_sided=True,
    source="VE loss (arXiv 2603.21085); PAE (arXiv 2605.07915)",
    evidence="PAE's form with LPIPS orders gFID with Spearman 0.95 over 8 variants of one model; none for PSNR",
    conventions="white noise of 0.1 standard deviation of each channel, against the clean output",
)
CONSISTENCY = Metric(
    key="lpc",
    title="local perceptual consistency",
    unit="LPIPS",
    better="lower",
    range="from 0 on",
    one_sided=True,
    source="PAE (arXiv 2605.07915)",
    evidence="Spearman 0.95 with gFID over 8 variants of one model; across models only drawn in a figure",
    conventions="steps of 0.1, 0.5, 1 and 2 lengths of the whole latent, weighted by 1/length, no projection back",
)
POSTERIOR_NOISE = Metric(
    key="posterior_noise",
    title="posterior variance",
    unit="share of variance",
    better="target",
    range="0 (deterministic) to 1",
    one_sided=False,
    source="VE loss (arXiv 2603.21085)",
    evidence="an optimum in between is claimed from four runs of one model",
    conventions="mean posterior variance over that plus the variance of the means",
)
EQUIVARIANCE = Metric(
    key="equivariance_scale_50",
    title="equivariance error at half size",
    unit="",
    better="lower",
    range="from 0 on; 2 for unrelated latents",
    one_sided=True,
    source="EQ-VAE (arXiv 2502.09509), appendix C.3",
    evidence="|r| with gFID 0.4–0.7 within families of one shape; 0.005 across 8 autoencoders: compare before, after",
    conventions="‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖², posterior means, area resampling of both (the paper: bicubic)",
)
EQUIVARIANCE_TURN = replace(
    EQUIVARIANCE,
    key="equivariance_turn_90",
    title="equivariance error at a quarter turn",
    evidence="|r| with gFID at most 0.03 over 86 tokenizers, that is none",
    conventions="‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖², posterior means, 90° anticlockwise",
)
TRANSFER = Metric(
    key="transfer_diagonal",
    title="decoder response that stays in its band",
    unit="share",
    better="higher",
    range="0 to 1",
    one_sided=True,
    source="this package, to test a premise of " + SPECTRUM_MATCHING,
    evidence=NONE,
    conventions="noise of one latent band at a time, 0.1 standard deviation of each channel; bands of equal frequency",
)

_IN_ORDER = (
    *(PSNR_METRIC, SSIM_METRIC, LPIPS_METRIC, RFID_METRIC),
    *(EXPONENT, latents.SEC, latents.SEC_50, BEST_DELTA, GAP, GAP_PAPER),
    *(
        latents.LDS,
        latents.LDS_FAR,
        latents.LDS_RAW,
        latents.LDS_PAPER,
        latents.CDS,
        latents.CDS_RAW,
        RMSC,
        DIRECTIONAL,
    ),
    *(LOWPASS, TRANSFER, NOISE, CONSISTENCY, POSTERIOR_NOISE, EQUIVARIANCE, EQUIVARIANCE_TURN, latents.VIV),
    *(latents.LOCAL_CORRELATION, latents.NEIGHBOUR_CORRELATION, latents.PARTICIPATION, latents.TOP1, latents.CONDITION),
    *(latents.EFFECTIVE_RANK, STD, latents.KURTOSIS, latents.BLOCK_DCT, latents.BLOCK_DCT_RAW),
    *(latents.LNC, latents.GSQ, latents.VIV_CLASS, latents.SRSS),
)

METRICS: dict[str, Metric] = {metric.key: metric for metric in _IN_ORDER}
