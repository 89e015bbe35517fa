"""Every score of `evaluate` by its key: what it compares, which way is better, and what it depends on."""

from dataclasses import replace

from ..catalogue import LPIPS, PSNR, SSIM
from ..latents.catalogue import NONE
from ..metric import Metric
from .sliced_wasserstein import MOST_SCALES

BLOCK_KEEPS = range(1, 15)

_GENERATION = "a score of generated images itself, not a predictor"
_BIAS = "biased upward for few images: compare equal numbers alone"

FID = Metric(
    key="fid",
    title="Fréchet distance",
    unit="",
    better="lower",
    range="from 0 on",
    one_sided=False,
    source="Heusel et al. (arXiv 1706.08500)",
    evidence=_GENERATION,
    conventions="FID where the extractor is Inception's, FD-DINOv2 where it is DINOv2; symmetric eigenproblem in "
    f"float64; {_BIAS}. Interval: delta method over generated images, reference fixed, which leaves the bias out",
)
SFID = replace(
    FID,
    key="sfid",
    title="spatial Fréchet distance",
    source="Nash et al. (arXiv 2103.03841), as in ADM's evaluator",
    conventions=f"7 channels of 17 × 17 of Inception's sixth mixed block; {_BIAS}",
)
INCEPTION_SCORE = replace(
    FID,
    key="inception_score",
    title="Inception Score",
    better="higher",
    range="1 to the number of classes",
    source="Salimans et al. (arXiv 1606.03498)",
    conventions="Inception's logits without bias, mean over splits of 5,000 consecutive images as in ADM's evaluator; "
    "looks at no reference. Interval: over splits, where there are five",
)
PRECISION = replace(
    FID,
    key="precision",
    title="precision",
    unit="share",
    better="higher",
    range="0 to 1",
    one_sided=True,
    source="Kynkäänniemi et al. (arXiv 1904.06991)",
    conventions="balls to the third neighbour in the features of at most 10,000 images a side; depends on both "
    "numbers. Interval: over generated images, the manifold fixed",
)
RECALL = replace(PRECISION, key="recall", title="recall", conventions=PRECISION.conventions.partition(" Interval")[0])
KID = replace(
    FID,
    key="kid",
    title="kernel distance",
    range="about 0 on; unbiased, so it may come out below",
    source="Bińkowski et al. (arXiv 1801.01401)",
    conventions="KID where the extractor is Inception's; cubic kernel, all pairs of at most 10,000 images a side. "
    "Interval: first-order terms of the U-statistic, over the images of both sides",
)
SPECTRUM_ERROR = replace(
    FID,
    key="spectrum_error",
    title="error of the power spectrum",
    unit="dB",
    source="this package",
    conventions="mean over radial bands of |10 log10(mean power / reference)|, half as many bands as pixels a side, no "
    "DC; needs no weights. Interval: delta method over generated images, reference fixed",
)
SWD = replace(
    FID,
    key="swd",
    title="sliced Wasserstein, patches",
    unit="deviations",
    source="Karras et al. (arXiv 1710.10196), section 5",
    conventions="mean over the levels of a Laplacian pyramid, 7 × 7 patches, 8 an image of at most 10,000, 256 "
    f"directions, in the reference's deviations by channel; needs no weights; {_BIAS}",
)
RFID = replace(
    FID,
    key="rfid",
    title="reconstruction Fréchet distance",
    conventions=f"of reconstructions to their own images; {FID.conventions}",
)
_SCALES = tuple(
    replace(SWD, key=f"swd_scale_{2**k}", title=f"patches at {f'1/{2**k}' if k else 'full'} size")
    for k in range(MOST_SCALES)
)
_LOWPASS = tuple(
    replace(
        RFID,
        key=f"rfid_lowpass_{keep}",
        title=f"low-pass rFID, {keep} of 15 diagonals",
        source="Spectrum Matching (arXiv 2603.14645)",
        evidence=NONE,
        conventions="decoded low-passed latents against low-passed images, blocks of 8 (cells, pixels); keep = 15 − n",
    )
    for keep in BLOCK_KEEPS
)

SCORES: dict[str, Metric] = {
    score.key: score
    for score in (
        *(FID, SFID, INCEPTION_SCORE, PRECISION, RECALL, KID, SPECTRUM_ERROR, SWD),
        *_SCALES,
        *(RFID, PSNR, SSIM, LPIPS),
        *_LOWPASS,
    )
}
"""In the order in which they are worth reading."""
