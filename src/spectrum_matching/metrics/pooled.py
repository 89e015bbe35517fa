"""Differences between methods over seeds, judged by the spread within methods that all of them share."""

import math
from collections.abc import Iterable, Sequence
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
    from scipy.special import nctdtrinc  # type: ignore[import-untyped]
    from scipy.stats import t as student  # type: ignore[import-untyped]

    spread = [group for group in {tuple(sorted(group)) for group in groups} if len(group) > 1]
    kept = [(i, j) for i, j in pairs if min(len(groups[i]), len(groups[j])) > 1]
    if not kept:
        return {}
    freedom = sum(len(group) - 1 for group in spread)
    pooled = math.sqrt(sum((len(group) - 1) * variance(group) for group in spread) / freedom)
    n_errors = float(nctdtrinc(freedom, 1 - POWER, student.isf(FAMILY_WISE / 2 / len(kept), freedom)))
    found = {}
    for i, j in kept:
        change = mean(groups[i]) - mean(groups[j])
        error = pooled * math.sqrt(1 / len(groups[i]) + 1 / len(groups[j]))
        p = 2 * float(student.sf(abs(change) / error, freedom)) if error else float(change == 0)
        found[i, j] = Difference(change, p, n_errors * error)
    corrected = holm([difference.p for difference in found.values()])
    return {pair: found[pair]._replace(p=p) for pair, p in zip(found, corrected, strict=True)}


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, step by step.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    corrected, largest = [1.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected
