"""The share of a sampled latent's variance that is noise of its posterior."""

from ...records.measurement import Measurement
from ..estimates import estimate_mean
from ..metric import Metric
from .sweep import Collected, LatentMetric, LatentSweep, StandardisedBatch

POSTERIOR_VARIANCE = Metric(
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


def _collect(batch: StandardisedBatch) -> Collected:
    return Collected() if batch.noise is None else Collected({"noise": batch.noise})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    noise = sweep.rows("noise")
    if not len(noise):
        return {}
    variance = sweep.moments.channel_stds.square().mean()
    return {"posterior_noise": estimate_mean(noise / (noise.mean() + variance))}


POSTERIOR_NOISE = LatentMetric((POSTERIOR_VARIANCE,), _numbers, _collect)
