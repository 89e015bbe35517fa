"""Scale, tails and posterior noise of the channels, and which channels are outliers."""

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import jackknife_scalar
from ..metric import NONE, Metric
from .moments import DEAD, dead_channels
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

STD = Metric(
    key="std",
    title="standard deviation of the latents",
    unit="latent units",
    range="from 0 on",
    bounds=(0.0, None),
    source="convention",
    evidence=NONE + "; a diffusion model wants 1 after the declared scaling",
    conventions="over images, channels and positions together, before any scaling factor",
)
KURTOSIS = Metric(
    key="kurtosis",
    title="excess kurtosis, mean over channels",
    range="from −2 on; 0 for a Gaussian",
    bounds=(-2.0, None),
    source="convention",
    evidence=NONE + "; heavy tails are far from the unit Gaussian that diffusion starts from",
    conventions="fourth standardised moment minus 3, each live channel over all images and positions",
)
POSTERIOR_VARIANCE = Metric(
    key="posterior_noise",
    title="posterior variance",
    unit="share of variance",
    better="target",
    range="0 (deterministic) to 1",
    bounds=(0.0, 1.0),
    source="VE loss (arXiv 2603.21085)",
    evidence="an optimum in between is claimed from four runs of one model",
    conventions="mean posterior variance over that plus the variance of the means",
)

OUTLYING = 5.0
"""A live channel this many times above or below the median standard deviation is an outlier."""

HEAVY = 10.0
"""A live channel of a larger excess kurtosis is an outlier: a few positions carry it."""


def outlier_channels(stds: Tensor, kurtosis: Tensor) -> Tensor:
    """Return which live channels are outliers by scale or tails: stds, excess kurtosis (c,) → (c,) bool.

    Standard deviation over 5 times or under 1/5 of the live median, or |kurtosis| > 10. The rule is ours; no relation
    to generation is known.
    """
    live = ~dead_channels(stds)
    if not live.any():
        return ~live & live
    ratio = stds / stds[live].quantile(0.5)
    return live & ((ratio > OUTLYING) | (ratio < 1 / OUTLYING) | (kurtosis.abs() > HEAVY))


def power_sums(latents: Tensor) -> Tensor:
    """Return sums of the first to fourth powers over positions: standardised (b, c, h, w) → (b, c, 4)."""
    squares = latents.square()
    return torch.stack([x.sum((-2, -1)) for x in (latents, squares, squares * latents, squares.square())], -1)


def excess_kurtosis(sums: Tensor, n: Tensor) -> Tensor:
    """Return the excess kurtosis from `power_sums` over n positions: (…, 4), () → (…).

    Fourth standardised population moment minus 3: 0 for a Gaussian, −2 for ±1. Stable if the positions were
    standardised before they were summed. NaN for a constant, whose variance is rounding.
    """
    mean, second, third, fourth = (sums / n).unbind(-1)
    variance = second - mean.square()
    moment = fourth - 4 * mean * third + 6 * mean.square() * second - 3 * mean**4
    return torch.where(variance > DEAD**2 * second, moment / variance.square() - 3, torch.nan)


def channel_kurtosis(sweep: LatentSweep) -> Tensor:
    """Return the excess kurtosis of each channel (c,), NaN where it is dead."""
    sums, n = sweep.sums("powers")
    kurtosis = torch.full((len(sweep.live),), torch.nan, dtype=torch.float64)
    kurtosis[sweep.live] = excess_kurtosis(sums.sum(0), n.sum() * sweep.n_positions)
    return kurtosis


def _collect(batch: StandardisedBatch) -> BatchRows:
    noise = {} if batch.noise is None else {"noise": batch.noise}
    return BatchRows(summed={"powers": power_sums(batch.latents)} | noise)


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    def mean_kurtosis(sums: Tensor, n: Tensor) -> Tensor:
        return excess_kurtosis(sums, n * sweep.n_positions).mean()

    kurtosis = jackknife_scalar(mean_kurtosis, *sweep.sums("powers"), white=0.0)

    def noise_share(noise: Tensor, sums: Tensor, n: Tensor) -> Tensor:
        mean, second = (sums[:, :2] / (n * sweep.n_positions)).unbind(-1)
        # Of all channels, of which the dead have none.
        variances = (second - mean.square()) * sweep.moments.channel_stds[sweep.live].square()
        noise = noise / n
        return noise / (noise + variances.sum() / len(sweep.live))

    numbers = {"std": Measurement(sweep.moments.std), "kurtosis": kurtosis}
    if sweep.has_noise:
        numbers["posterior_noise"] = jackknife_scalar(noise_share, *sweep.sums("noise", "powers"))
    return numbers


CHANNELS = LatentMetric((STD, KURTOSIS, POSTERIOR_VARIANCE), _numbers, _collect)
