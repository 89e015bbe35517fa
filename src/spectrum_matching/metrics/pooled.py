"""Differences between methods over seeds, judged by the spread within methods that all of them share."""

import math
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

    detectable: the true difference that this test finds with probability `POWER`, or more if other pairs differ too.
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

    Groups of equal values, such as methods that share an autoencoder, count once in that variance. Pairs with a group
    of fewer than two seeds, which shows no spread of its own, are left out. p: with `holm`'s correction over the pairs.
    detectable: by the noncentral t distribution at the first, strictest level of that correction.
    """
    spread = [group for group in {tuple(sorted(group)) for group in groups} if len(group) > 1]
    kept = [(i, j) for i, j in pairs if min(len(groups[i]), len(groups[j])) > 1]
    if not kept:
        return {}
    freedom = sum(len(group) - 1 for group in spread)
    pooled = math.sqrt(sum((len(group) - 1) * variance(group) for group in spread) / freedom)
    errors = (pooled * math.sqrt(1 / len(groups[i]) + 1 / len(groups[j])) for i, j in kept)
    changes = (mean(groups[i]) - mean(groups[j]) for i, j in kept)
    return _tested(dict(zip(kept, zip(changes, errors, strict=True), strict=True)), freedom)


def paired_differences(
    groups: Sequence[Mapping[int, float]], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Difference]:
    """Compare groups of values by seed, pair by pair, where a seed shifts all groups alike.

    As `differences`, but on the seeds that all groups of two or more share, and with the variance that is left beside
    the means of groups and of seeds: the two-way analysis of variance. Two groups: the paired t test.
    """
    several = [group for group in groups if len(group) > 1]
    seeds = sorted(set.intersection(*map(set, several))) if several else []
    kept = [(i, j) for i, j in pairs if min(len(groups[i]), len(groups[j])) > 1]
    if len(seeds) < 2 or not kept:
        return {}
    rows = {tuple(group[seed] for seed in seeds) for group in several}
    shifts = [mean(column) for column in zip(*rows, strict=True)]
    left = [[value - shift for value, shift in zip(row, shifts, strict=True)] for row in rows]
    freedom = (len(rows) - 1) * (len(seeds) - 1)
    pooled = math.sqrt(sum((len(seeds) - 1) * variance(row) for row in left) / freedom) if freedom else 0.0
    error = pooled * math.sqrt(2 / len(seeds))
    changes = {(i, j): mean(groups[i][seed] - groups[j][seed] for seed in seeds) for i, j in kept}
    return _tested({pair: (change, error) for pair, change in changes.items()}, freedom)


def _tested(found: Mapping[tuple[int, int], tuple[float, float]], freedom: int) -> dict[tuple[int, int], Difference]:
    """Test differences by their standard errors, which have the same degrees of freedom."""
    from scipy.special import nctdtrinc  # type: ignore[import-untyped]
    from scipy.stats import t as student  # type: ignore[import-untyped]

    p = [
        2 * float(student.sf(abs(change) / error, freedom)) if error else float(change == 0)
        for change, error in found.values()
    ]
    level = FAMILY_WISE / 2 / len(found)
    n_errors = float(nctdtrinc(freedom, 1 - POWER, student.isf(level, freedom))) if freedom else 0.0
    corrected = zip(found.items(), holm(p), strict=True)
    return {pair: Difference(change, p, n_errors * error) for (pair, (change, error)), p in corrected}


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, step by step.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    corrected, largest = [1.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected
