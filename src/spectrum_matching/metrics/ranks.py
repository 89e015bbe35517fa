"""Rank statistics of a few numbers: chance of separating two groups, and Spearman's correlation."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb, sqrt


def chance_apart(n: int, m: int) -> Fraction:
    """Return the chance that n numbers lie on one side of m others if all n + m are exchangeable and distinct.

    2 · n! · m! / (n + m)!: of the equally likely ways to say which of the ordered numbers are the n, two separate them.
    """
    return Fraction(2, comb(n + m, n))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's ρ in [−1, 1], ties by mean rank; None for fewer than three pairs or a constant sequence."""
    a, b = _ranks(one), _ranks(other)
    if len(a) < 3:
        return None
    middle = (len(a) + 1) / 2
    variances = sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b)
    if variances == 0:
        return None
    return sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True)) / sqrt(variances)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1; equal values share their mean rank."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]
