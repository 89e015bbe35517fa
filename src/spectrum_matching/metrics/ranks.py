"""Spearman's rank correlation of a few numbers."""

from collections.abc import Sequence

FEWEST = 5
"""Pairs from which an order can be told from chance at 5 %: 2 of the 5! orders are perfect, p = 0.017; of 4!, 0.083."""


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's ρ in [−1, 1], ties by mean rank; None for fewer than `FEWEST` pairs or a constant sequence."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    if len(one) < FEWEST or min(len(set(one)), len(set(other))) < 2:
        return None
    return float(spearmanr(one, other).statistic)
