"""The Inception Score: how sure a classifier is of each image, and how many classes it sees in all."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.measurement import Measurement
from .score import SetComparison, SetScore, score_metric
from .statistics import Collected, FeatureBatch

SPLIT = 5000
"""Consecutive images in a split."""

PREFIX = "classes."
"""Of the names under which the sums of a split are kept."""

MIN_SPLITS = 5
"""Splits below which their spread gives no standard error."""

INCEPTION_SCORE_METRIC = score_metric(
    key="inception_score",
    title="Inception Score",
    better="higher",
    range="1 to the number of classes",
    source="Salimans et al. (arXiv 1606.03498)",
    conventions="Inception's logits without bias, mean over splits of 5,000 consecutive images as in ADM's evaluator; "
    "uses no reference. Interval: over splits, where there are five",
)


class InceptionScore(NamedTuple):
    """Mean over splits, their standard deviation (0 for one split), and the number of splits."""

    value: float
    deviation: float
    n_splits: int


def inception_sums(logits: Tensor, indices: Tensor, split: int = SPLIT) -> dict[int, Tensor]:
    """Return sums by split of logits (b, classes) of images with these indices (b,); sums of batches add.

    Each is (2 + classes,) in float64: the number of images, their sum of Σ p log p, and of the probabilities p.
    """
    logs = logits.detach().cpu().double().log_softmax(1)
    probabilities = logs.exp()
    rows = torch.cat([torch.ones(len(logs), 1), (probabilities * logs).sum(1, keepdim=True), probabilities], 1)
    return {part: rows[indices // split == part].sum(0) for part in (indices // split).unique().tolist()}


def inception_score(sums: Mapping[int, Tensor]) -> InceptionScore:
    """Return exp of the mean KL divergence of an image's classes from all images' classes: 1 to the number of classes.

    sums: by split. A last split with fewer than half the images of the largest is left out. Source: Salimans et al.
    (arXiv 1606.03498); splits of 5,000 as in ADM (arXiv 2105.05233).

    Raises:
        ValueError: without any image.
    """
    if not sums:
        raise ValueError("no logits to score")
    counts = {split: float(total[0]) for split, total in sums.items()}
    scores = []
    for split in sorted(counts):
        if counts[split] >= max(counts.values()) / 2:
            mean = sums[split][1:] / sums[split][0]
            scores.append((mean[0] - torch.xlogy(mean[1:], mean[1:]).sum()).exp())
    values = torch.stack(scores)
    return InceptionScore(float(values.mean()), float(values.std()) if len(values) > 1 else 0.0, len(values))


def _collect(batch: FeatureBatch) -> Collected:
    if batch.logits is None:
        return Collected()
    sums = inception_sums(batch.logits, batch.numbers)
    return Collected(sums={f"{PREFIX}{split}": total for split, total in sums.items()})


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    sums = {
        int(name.removeprefix(PREFIX)): total
        for name, total in comparison.images.sums.items()
        if name.startswith(PREFIX)
    }
    if not sums:
        return {}
    score = inception_score(sums)
    error = score.deviation / math.sqrt(score.n_splits) if score.n_splits >= MIN_SPLITS else None
    return {"inception_score": Measurement(score.value, error)}


INCEPTION_SCORE = SetScore((INCEPTION_SCORE_METRIC,), _compare, _collect, uses_reference=False)
