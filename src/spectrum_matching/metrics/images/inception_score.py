"""The Inception Score: how sure a classifier is of each image, and how many classes it sees in all."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...seeding import spread_keys
from .score import SetComparison, SetScore, score_metric
from .statistics import Collected, FeatureBatch

SPLIT = 5000
"""Images in a split, about."""

GROUPS = 840
"""Groups of images whose sums are kept, each spread over the set: splits are made of them once the number is known.
Up to 8 and 10 splits have equally many."""

SUMS = "classes"
"""The name under which the sums of all groups are kept."""

MIN_SPLITS = 5
"""Splits below which their spread gives no standard error."""

INCEPTION_SCORE_METRIC = score_metric(
    key="inception_score",
    title="Inception Score",
    better="higher",
    range="1 to the number of classes",
    bounds=(1.0, None),
    source="Salimans et al. (arXiv 1606.03498)",
    conventions="Inception's logits without bias, mean over equal splits of about 5,000 images, each spread over the "
    "set, where ADM's evaluator splits consecutively; uses no reference. Interval: over splits, where there are five",
)


class InceptionScore(NamedTuple):
    """Mean over splits, their standard deviation (0 for one split), and the number of splits."""

    value: float
    deviation: float
    n_splits: int


def inception_sums(logits: Tensor, indices: Tensor) -> Tensor:
    """Return sums by group of logits (b, classes) of images with these indices (b,): (GROUPS, 2 + classes), float64.

    A group's are the number of its images, their sum of Σ p log p, and of the probabilities p; sums of batches add. A
    group is of images whose `spread_keys` lie in one interval.
    """
    logs = logits.detach().cpu().double().log_softmax(1)
    probabilities = logs.exp()
    rows = torch.cat([torch.ones(len(logs), 1), (probabilities * logs).sum(1, keepdim=True), probabilities], 1)
    groups = (spread_keys(indices) * GROUPS).long()
    return torch.zeros(GROUPS, rows.shape[1], dtype=torch.float64).index_add_(0, groups, rows)


def inception_score(sums: Tensor, split: int = SPLIT) -> InceptionScore:
    """Return exp of the mean KL divergence of an image's classes from all images' classes: 1 to the number of classes.

    sums: by group. The groups are divided into as many equal splits as come nearest to `split` images each. Source:
    Salimans et al. (arXiv 1606.03498); ADM (arXiv 2105.05233) takes 5,000 consecutive images, a shorter last split too.

    Raises:
        ValueError: without any image.
    """
    n = float(sums[:, 0].sum())
    if not n:
        raise ValueError("no logits to score")
    n_splits = min(max(1, round(n / split)), GROUPS)
    totals = torch.zeros(n_splits, sums.shape[1], dtype=torch.float64)
    totals.index_add_(0, torch.arange(GROUPS) * n_splits // GROUPS, sums)
    means = totals[:, 1:] / totals[:, :1]
    values = (means[:, 0] - torch.xlogy(means[:, 1:], means[:, 1:]).sum(1)).exp()
    return InceptionScore(float(values.mean()), float(values.std()) if n_splits > 1 else 0.0, n_splits)


def _collect(batch: FeatureBatch) -> Collected:
    if batch.logits is None:
        return Collected()
    return Collected(sums={SUMS: inception_sums(batch.logits, batch.numbers)})


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    if SUMS not in comparison.images.sums:
        return {}
    score = inception_score(comparison.images.sums[SUMS])
    error = score.deviation / math.sqrt(score.n_splits) if score.n_splits >= MIN_SPLITS else None
    return {"inception_score": Measurement(score.value, error)}


INCEPTION_SCORE = SetScore((INCEPTION_SCORE_METRIC,), _compare, _collect, uses_reference=False)
