"""Spearman's rank correlation of a few numbers."""

from collections.abc import Sequence


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's ρ in [−1, 1], ties by mean rank; None for fewer than three pairs or a constant sequence."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    if len(one) < 3 or min(len(set(one)), len(set(other))) < 2:
        return None
    return float(spearmanr(one, other).statistic)
