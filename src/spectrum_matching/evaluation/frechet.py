"""From statistics to Fréchet scores: a value with its interval over images, or the reason why there is none."""

import math

from torch import Tensor

from ..metrics.images.distances import FeatureStatistics, frechet_distance, frechet_refusal
from ..metrics.images.frechet_error import enough_for_influence, frechet_influence
from ..records.scores import Score

Z_95 = 1.96


def around(value: float, error: float, least: float = -math.inf) -> tuple[float, float]:
    """The interval of 95 % of a value with a standard error, cut at `least`."""
    return max(value - Z_95 * error, least), value + Z_95 * error


def frechet_score(
    key: str,
    images: FeatureStatistics,
    reference: FeatureStatistics,
    n_reference: int,
    rows: Tensor | None = None,
    paired: Tensor | None = None,
) -> Score:
    """rows (n, d): features of single images, for the interval. paired (n, d): those of the reference's, one by one.

    n_reference: images behind the reference, 0 where nobody knows. Without `paired` the reference is held fixed.
    Refused where covariances lack rank.
    """
    n, d = images.count, len(images.mean)
    if refusal := frechet_refusal(n, d):
        return Score(key, None, None, n, refusal)
    # Not by the statistics' own count, which moments from a file only stand in for.
    if n_reference and (refusal := frechet_refusal(n_reference, d)):
        return Score(key, None, None, n, f"reference: {refusal}")
    value = frechet_distance(images, reference)
    if rows is None or not enough_for_influence(n, d):
        return Score(key, value, None, n)
    influence = frechet_influence(rows, images, reference)
    if paired is not None:
        influence = influence + frechet_influence(paired, reference, images)
    return Score(key, value, around(value, float(influence.std()) / math.sqrt(n), 0.0), n)
