"""Every score of `evaluate`: those of sets of images in one ordered tuple, and what each number means by its key."""

from ..metric import Metric
from .fidelity import LOWPASS_METRICS, LPIPS_METRIC, PSNR_METRIC, SSIM_METRIC
from .frechet import FID, FID_RECONSTRUCTIONS, RFID, SFID
from .inception_score import INCEPTION_SCORE
from .kernel_distance import KID
from .precision_recall import PRECISION_RECALL
from .sliced_wasserstein import SLICED_WASSERSTEIN
from .spectrum_error import SPECTRUM_ERROR

SET_SCORES = (
    *(FID, FID_RECONSTRUCTIONS, SFID, INCEPTION_SCORE, PRECISION_RECALL, KID),
    *(SPECTRUM_ERROR, SLICED_WASSERSTEIN, RFID),
)
"""Scores of sets of images, in the order in which they are worth reading; a new one is added here."""

SCORES: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        *(metric for score in SET_SCORES for metric in (*score.metrics, *score.details)),
        *(PSNR_METRIC, SSIM_METRIC, LPIPS_METRIC, *LOWPASS_METRICS),
    )
}
