"""What each metric of `structure` means, and what stands behind it."""

from dataclasses import replace

from ..metric import Metric

RIGHT_SPACE = "Diffusing in the Right Space (arXiv 2606.03578)"
IREPA = "iREPA (arXiv 2512.10794)"
GAE = "GAE, after SSVAE (arXiv 2512.05394)"
NONE = "none published"
DISPUTED = "none, and the direction is disputed: SSVAE wants few modes, PAE and GAE many"
STANDARDISED = "latents standardised channel by channel, dead channels left out"

SEC = Metric(
    key="sec_25",
    title="spectral energy concentration, ρ = 0.25",
    unit="share of energy",
    better="lower",
    range="0 to 1",
    one_sided=True,
    source=f"{RIGHT_SPACE}, equations 7–9",
    evidence="|r| with gFID 0.63–0.80 within one family of 43 tokenizers of one shape, none across families",
    conventions=f"DCT of the whole map, u + v > 0.25 · (h + w − 2), DC kept; the paper states no ρ; {STANDARDISED}",
)
SEC_50 = replace(
    SEC,
    key="sec_50",
    title="spectral energy concentration, ρ = 0.5",
    evidence="as for ρ = 0.25, if this is the paper's threshold, which it does not state",
    conventions=f"DCT of the whole map, u + v > 0.5 · (h + w − 2), DC kept; {STANDARDISED}",
)
LDS = Metric(
    key="lds_4n_far6",
    title="local against distant similarity",
    unit="cosine",
    better="higher",
    range="−2 to 2; 0.35–0.78 for published 16 × 16 latents",
    one_sided=True,
    source=f"{IREPA}, its code; on latents {RIGHT_SPACE}",
    evidence="|r| with gFID 0.85 within one family of 22 tokenizers of one shape, none across families",
    conventions=f"adjacent cells against cells 6 or more apart, whatever the grid; {STANDARDISED}",
)
LDS_FAR = replace(
    LDS,
    key="lds_far_3_8",
    title="local against distant similarity, far scaled to the grid",
    evidence=NONE + " on grids other than 16 × 16, where it is LDS",
    conventions=f"far is 3/8 of the shorter side, as 6 is of 16; {STANDARDISED}",
)
LDS_RAW = replace(
    LDS,
    key="lds_raw",
    title="local against distant similarity, raw",
    evidence="|r| with gFID 0.85 over 27 encoders as alignment targets, not as latents",
    conventions="adjacent cells against cells 6 or more apart; live channels, neither centred nor scaled",
)
LDS_PAPER = replace(
    LDS,
    key="lds_paper",
    title="local against distant similarity, as the text has it",
    source=f"{IREPA}, its text",
    evidence=NONE + " for this reading: the correlations were computed with the code's",
    conventions=f"cells nearer than half the shorter side against all others, no cell with itself; {STANDARDISED}",
)
CDS = Metric(
    key="cds_8",
    title="correlation decay slope",
    unit="cosine per cell",
    better="higher",
    range="about −0.1 to 0.15; 0.04–0.12 for published 16 × 16 latents",
    one_sided=True,
    source=f"{IREPA}, its code",
    evidence="|r| with gFID 0.85 over 27 encoders as alignment targets; on latents not singled out, mostly repeats LDS",
    conventions=f"minus the least squares slope over Manhattan distances 1 … 8, the code's maximum; {STANDARDISED}",
)
CDS_RAW = replace(
    CDS,
    key="cds_raw",
    title="correlation decay slope, raw",
    conventions="Manhattan distances 1 … 8; live channels, neither centred nor scaled",
)
VIV = Metric(
    key="viv",
    title="velocity irreducible variance, one class",
    unit="standard deviations · π/2",
    better="lower",
    range="0 to π/2, which is white noise",
    one_sided=True,
    source=f"{RIGHT_SPACE}, equations 2–6, without its classes",
    evidence=NONE + " without labels; with them see the per-class form",
    conventions=f"mean of (π/2)√λ, channels ⊗ cells, 5 rounds; all images one class; {STANDARDISED}",
)
VIV_CLASS = replace(
    VIV,
    key="viv_class",
    title="velocity irreducible variance, by class",
    source=f"{RIGHT_SPACE}, equations 2–6",
    evidence="|r| with gFID 0.79–0.90 within families of one shape (50 images in each of 1000 classes), none across",
    conventions=f"mean over classes of the mean of (π/2)√λ, channels ⊗ cells, 5 rounds; {STANDARDISED}",
)
LOCAL_CORRELATION = Metric(
    key="local_correlation",
    title="local correlation",
    unit="correlation",
    better="higher",
    range="−1 to 1; above 0.75 no gain is claimed",
    one_sided=True,
    source="SSVAE (arXiv 2512.05394), its training penalty",
    evidence=NONE + " as a metric",
    conventions=f"across channels, cells of one 2 × 2 window, each centred across channels; {STANDARDISED}",
)
NEIGHBOUR_CORRELATION = Metric(
    key="neighbour_correlation",
    title="correlation of adjacent cells",
    unit="correlation",
    better="neither",
    range="−1 to 1",
    one_sided=True,
    source="this package",
    evidence=NONE,
    conventions=f"across space, channel by channel, mean over channels; {STANDARDISED}",
)
PARTICIPATION = Metric(
    key="participation_ratio",
    title="participation ratio of the channels",
    unit="channels",
    better="neither",
    range="1 to the number of live channels",
    one_sided=False,
    source=GAE,
    evidence=DISPUTED,
    conventions="(Σλ)²/Σλ² of the covariance (not the correlation) of all cells, live channels",
)
TOP1 = replace(
    PARTICIPATION,
    key="top1_share",
    title="variance along the first axis",
    unit="share of variance",
    range="1 / live channels to 1",
)
CONDITION = replace(
    PARTICIPATION,
    key="condition_number",
    title="condition number of the channels",
    unit="",
    range="from 1 on",
    source="convention",
    evidence=NONE + "; set by the weakest live channel",
    conventions="largest over smallest eigenvalue of the covariance of all cells, live channels",
)
EFFECTIVE_RANK = replace(
    PARTICIPATION,
    key="effective_rank",
    title="effective rank of the images' means",
    unit="share of channels",
    range="0 to 1; too low for few images",
    source="PAE (arXiv 2605.07915)",
    conventions="exp(entropy of singular values) / channels, latents averaged over cells, centred over images, raw",
)
KURTOSIS = Metric(
    key="kurtosis",
    title="excess kurtosis, mean over channels",
    unit="",
    better="neither",
    range="from −2 on; 0 for a Gaussian",
    one_sided=False,
    source="convention",
    evidence=NONE,
    conventions="fourth standardised moment minus 3, each live channel over all images and cells",
)
BLOCK_DCT = Metric(
    key="block_dct_high",
    title="block-DCT amplitude, upper half",
    unit="relative to DC",
    better="target",
    range="from 0 on; to be read beside the images' own",
    one_sided=False,
    source="Improving the Diffusability of Autoencoders (arXiv 2502.14831); this summary of its profile is ours",
    evidence=NONE + "; one model went from FID 3.07 to 2.49 when its profile came nearer to the images'",
    conventions=f"8 × 8 cells, ratio of mean amplitudes, zig-zag indices 32–63, mean over channels; {STANDARDISED}",
)
BLOCK_DCT_RAW = replace(
    BLOCK_DCT,
    key="block_dct_high_raw",
    title="block-DCT amplitude, upper half, raw",
    conventions="as the standardised one, live channels neither centred nor scaled: an offset hides in DC",
)
LNC = Metric(
    key="lnc",
    title="latent neighbour consistency",
    unit="share",
    better="higher",
    range="chance level to 1",
    one_sided=False,
    source=RIGHT_SPACE,
    evidence="|r| with gFID 0.67–0.79 within families of one shape, 0.37–0.69 under guidance; 0.99 with linear probing",
    conventions="10 neighbours, or all others of the smallest class; cosine of centred means over cells or foreground; "
    "images share neighbours, so the standard error is some quarter too small",
)
GSQ = replace(
    LNC,
    key="gsq",
    title="global semantic quality",
    source="PAE (arXiv 2605.07915)",
    evidence="Spearman −0.74 with gFID over 8 variants of one model, −0.61 without the one that was not regularised",
    conventions="one neighbour, cosine of centred means over cells, raw",
)
SRSS = Metric(
    key="srss",
    title="semantic-region self-similarity",
    unit="cosine",
    better="higher",
    range="−2 to 2; 0.4–0.86 for published 16 × 16 latents",
    one_sided=True,
    source=f"{IREPA}, its code",
    evidence="|r| with gFID 0.71–0.90 over backbones and families of one shape, 0.69–0.82 under guidance",
    conventions=f"near 1, far 6 cells; images with a quarter of the cells inside and outside; {STANDARDISED}",
)
