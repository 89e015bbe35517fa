"""Differences between methods over seeds, judged by the spread within methods that all of them share."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, variance
from typing import Literal, NamedTuple

FAMILY_WISE = 0.05
"""Probability, if no two methods differ, that any of the pairs compared is called different."""
POWER = 0.8
"""Probability with which the smallest detectable difference is called different."""

Word = Literal["lower", "higher", "undecided"]


class Difference(NamedTuple):
    """Mean of one method less that of another, and the two-sided p corrected for all pairs that were compared.

    detectable: the true difference that this test finds with probability `POWER`, or more if other pairs differ too, if
    seeds vary as much as here; NaN where nothing varies.
    """

    mean: float
    p: float
    detectable: float

    @property
    def word(self) -> Word:
        """Return whether the one is lower or higher, at a family-wise error of 5 %."""
        if self.p >= FAMILY_WISE or not self.mean:
            return "undecided"
        return "lower" if self.mean < 0 else "higher"


def differences(
    groups: Sequence[Sequence[float]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Difference]:
    """Compare groups of seeds, pair by pair, by t tests with the variance within groups pooled over all of them.

    A group whose values all occur in another, such as numbers of a shared autoencoder, adds nothing to that variance.
    Pairs with a group of fewer than two seeds, which shows no spread of its own, are left out. p: with `holm`'s
    correction over the pairs; 1 where nothing varies. detectable: by the noncentral t distribution at the strictest
    level of that correction.
    """
    once = {tuple(sorted(group)): Counter(group) for group in groups if len(group) > 1}
    spread = [group for group, values in once.items() if not any(values < others for others in once.values())]
    kept = [(i, j) for i, j in pairs if min(len(groups[i]), len(groups[j])) > 1]
    if not kept:
        return {}
    freedom = sum(len(group) - 1 for group in spread)
    pooled = math.sqrt(sum((len(group) - 1) * variance(group) for group in spread) / freedom)
    found = {
        (i, j): (mean(groups[i]) - mean(groups[j]), pooled * math.sqrt(1 / len(groups[i]) + 1 / len(groups[j])))
        for i, j in kept
    }
    return _tested(found, freedom)


def paired_differences(
    groups: Sequence[Mapping[int, float]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Difference]:
    """Compare groups of values by seed, pair by pair, where a seed shifts all groups alike.

    As `differences`, with the variance that remains after least squares with a term for each group and each seed: the
    two-way analysis of variance; of two groups, the paired t test. It assumes that all differences between groups vary
    alike over seeds: p is too small for a group that varies more than the others.
    """
    import numpy as np

    items = [tuple(sorted(group.items())) for group in groups]
    rows = list(dict.fromkeys(each for each in items if len(each) > 1))
    row_of = {i: rows.index(each) for i, each in enumerate(items) if each in rows}
    kept = [(i, j) for i, j in pairs if i in row_of and j in row_of]
    if not kept:
        return {}
    seeds = sorted({seed for row in rows for seed, _ in row})
    cells = [(k, seeds.index(seed), value) for k, row in enumerate(rows) for seed, value in row]
    of_row, of_seed, values = map(np.array, zip(*cells, strict=True))
    design = np.hstack([np.eye(len(rows))[of_row], np.eye(len(seeds))[of_seed]])
    inverse = np.linalg.pinv(design.T @ design)
    fit = inverse @ design.T @ values
    freedom = len(values) - int(np.linalg.matrix_rank(design))
    left = float(np.linalg.norm(values - design @ fit))
    varies = left > 1e-9 * float(np.abs(values).max())  # more than by rounding
    spread = left / math.sqrt(freedom) if freedom and varies else 0.0
    contrasts = {(i, j): np.eye(design.shape[1])[row_of[i]] - np.eye(design.shape[1])[row_of[j]] for i, j in kept}
    found = {
        pair: (float(contrast @ fit), spread * math.sqrt(max(0.0, float(contrast @ inverse @ contrast))))
        for pair, contrast in contrasts.items()
        if np.allclose(contrast @ inverse @ design.T @ design, contrast)  # else no seeds connect the two
    }
    return _tested(found, freedom)


def _tested(found: Mapping[tuple[int, int], tuple[float, float]], freedom: int) -> dict[tuple[int, int], Difference]:
    """Test differences by their standard errors, which have the same degrees of freedom."""
    from scipy.special import nctdtrinc  # type: ignore[import-untyped]
    from scipy.stats import t as student  # type: ignore[import-untyped]

    p = [2 * float(student.sf(abs(change) / error, freedom)) if error else 1.0 for change, error in found.values()]
    level = FAMILY_WISE / 2 / max(len(found), 1)
    n_errors = float(nctdtrinc(freedom, 1 - POWER, student.isf(level, freedom))) if freedom else math.nan
    corrected = zip(found.items(), holm(p), strict=True)
    return {pair: Difference(change, p, n_errors * error or math.nan) for (pair, (change, error)), p in corrected}


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, step by step.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    corrected, largest = [1.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected
