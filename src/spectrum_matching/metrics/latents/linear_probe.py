"""Linear probe: how well a linear discriminant of pooled latents tells classes apart."""

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import estimate_class_mean
from ..metric import STANDARDISED, Metric, Published
from .neighbours import label_refusal, pool
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

PROBE = Metric(
    key="probe_accuracy",
    title="linear probe, accuracy",
    unit="share",
    better="higher",
    range="1/classes, that of white noise, to 1",
    bounds=(0.0, 1.0),
    source="a linear classifier of pooled latents, as on the iFID board (arXiv 2603.05630); here Fisher's discriminant",
    across=Published(-0.75, (-0.90, -0.47), 21, "a classifier of ImageNet’s 1,000 classes"),
    conventions="linear discriminant of means over positions, equal priors, each image by a fit to all others; mean of "
    f"classes; images share fits, so the standard error is somewhat too small; {STANDARDISED}",
)

MIN_IN_CLASS = 6
IMAGES_PER_NUMBER = 5
"""Images for each number of a pooled latent, below which the discriminant mostly fits noise."""

BATCH_SIZE = 1024


def linear_probe(features: Tensor, labels: Tensor) -> Tensor:
    """Return whether a linear discriminant fitted to all other images finds each one's label: (n, c), (n,) → (n,) bool.

    Classes have one covariance and equal priors. Leaving an image out changes its class's mean and, by rank one, the
    covariance, so that no fit is repeated. Directions in which no class varies are left out.
    """
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    features = features.double()
    means = torch.zeros(len(counts), features.shape[1], dtype=torch.float64).index_add_(0, labels, features)
    means /= counts[:, None]
    within = features - means[labels]
    values, vectors = torch.linalg.eigh(within.mT @ within)
    kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp_min(1e-300)
    whiten = vectors[:, kept] / values[kept].sqrt()
    points, centres = features @ whiten, means @ whiten
    found = []
    for x, own in zip(points.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True):
        residual, rows = x - centres[own], torch.arange(len(x))
        # By Sherman and Morrison: without the image, the scatter loses `share` times the square of its residual.
        share = counts[own] / (counts[own] - 1)
        leverage = residual.square().sum(1)
        rest = (1 - share * leverage).clamp_min(1e-12)
        projections = (x * residual).sum(1, keepdim=True) - residual @ centres.mT
        distances = torch.cdist(x, centres).square() + projections.square() * (share / rest)[:, None]
        distances[rows, own] = share.square() * leverage / rest
        found.append(distances.argmin(1) == own)
    return torch.cat(found)


def probe_refusal(labels: Tensor, n_numbers: int) -> str:
    """Return why a probe of so many numbers an image would be biased; empty where it would not."""
    refusal = label_refusal(labels, MIN_IN_CLASS)
    needed = IMAGES_PER_NUMBER * n_numbers + len(labels.unique())
    if refusal or len(labels) >= needed:
        return refusal
    return f"{len(labels)} images are too few for a linear probe of {n_numbers} channels: it needs {needed}"


def _collect(batch: StandardisedBatch) -> BatchRows:
    return BatchRows({"pooled": pool(batch.latents)})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    labelled = sweep.rows("labels") >= 0
    labels = sweep.rows("labels")[labelled]
    if refusal := probe_refusal(labels, sweep.n_live) if len(labels) else "no labels":
        return {"probe_accuracy": Measurement(None, refused=refusal)}
    found = linear_probe(sweep.rows("pooled")[labelled], labels)
    return {"probe_accuracy": estimate_class_mean(found, labels, 1 / len(labels.unique()))}


LINEAR_PROBE = LatentMetric((PROBE,), _numbers, _collect)
