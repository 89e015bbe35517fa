"""Every metric of latents that needs no decoder, from one pass over them (VIV reads them again, some twelve times)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.measurement import Measurement
from . import readings
from .channels import outlier_channels
from .moments import Moments
from .sweep import LatentBatch, LatentSweep

KEYS = (
    *("sec_25", "sec_50", "lds_4n_far6", "lds_far_3_8", "lds_raw", "lds_paper", "cds_8", "cds_raw", "viv"),
    *("local_correlation", "neighbour_correlation", "participation_ratio", "top1_share", "condition_number"),
    *("effective_rank", "kurtosis", "block_dct_high", "block_dct_high_raw"),
    *("lnc", "gsq", "viv_class", "srss"),
)


class LatentNumbers(NamedTuple):
    """What `latent_numbers` finds. numbers: by keys of the catalogue, in the order of `KEYS`.

    cosine_by_distance (h + w − 1,): of standardised cells, mean over images. eigenvalues (live,): of the covariance of
    raw cells' vectors, descending. principal_axes (c, 3), principal_scales (3,): its first axes, and the standard
    deviations along them; zeros and ones where there are fewer. block_dct, block_dct_raw (64,): profiles of
    standardised and of raw latents, empty below 8 cells. kurtosis (excess), skewness (c,): NaN in dead channels. dead,
    outliers (c,) bool.
    """

    numbers: dict[str, Measurement]
    cosine_by_distance: Tensor
    eigenvalues: Tensor
    principal_axes: Tensor
    principal_scales: Tensor
    block_dct: Tensor
    block_dct_raw: Tensor
    kurtosis: Tensor
    skewness: Tensor
    dead: Tensor
    outliers: Tensor


def latent_numbers(batches: Callable[[], Iterable[LatentBatch]], moments: Moments) -> LatentNumbers:
    """`batches` gives the same latents, in the same order, on each call; `moments` are theirs.

    What is kept does not grow with the images, a few hundred numbers for each aside. Dead channels take no part. A
    metric that would be biased or undefined is refused with the reason, the others are not. ValueError
    where there are no images.
    """
    sweep = LatentSweep(moments)
    if not sweep.live.any():
        return _nothing_varies(len(sweep.live))
    for batch in batches():
        sweep.add(batch)
    if not sweep.n:
        raise ValueError("no latents to measure")
    skewness, kurtosis, mean_kurtosis = readings.channel_tails(sweep)
    profile, raw_profile, block_numbers = readings.block_dct(sweep)
    numbers = {
        **readings.concentrations(sweep),
        **readings.similarities(sweep),
        "viv": readings.velocity_variance(batches, sweep, by_class=False),
        **readings.correlations(sweep),
        **readings.eigenspectrum(sweep),
        "kurtosis": mean_kurtosis,
        **block_numbers,
        **readings.neighbours(sweep),
        "viv_class": readings.velocity_variance(batches, sweep, by_class=True),
        "srss": readings.region_similarity(sweep),
    }
    return LatentNumbers(
        numbers,
        sweep.rows("cosines").mean(0),
        *_principal(sweep),
        profile,
        raw_profile,
        kurtosis,
        skewness,
        ~sweep.live,
        outlier_channels(moments.channel_stds, kurtosis.nan_to_num()),
    )


def _principal(sweep: LatentSweep) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, first three axes and the standard deviations along them; an axis' largest entry is positive."""
    estimate, groups = readings.covariance(sweep)
    values, vectors = torch.linalg.eigh(estimate(*(sums.sum(0) for sums in groups)))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    n = min(3, len(values))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    axes, scales = torch.zeros(len(sweep.live), 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    axes[sweep.live, :n] = (vectors * largest.sign())[:, :n]
    scales[:n] = values[:n].sqrt()
    return values, axes, scales


def _nothing_varies(c: int) -> LatentNumbers:
    reason = Measurement(None, refused="no channel varies: all latents are the same")
    none, unknown = torch.empty(0), torch.full((c,), torch.nan)
    return LatentNumbers(
        dict.fromkeys(KEYS, reason),
        none,
        none,
        torch.zeros(c, 3),
        torch.ones(3),
        none,
        none,
        unknown,
        unknown,
        torch.ones(c, dtype=torch.bool),
        torch.zeros(c, dtype=torch.bool),
    )
