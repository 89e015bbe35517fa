import itertools
import math
from fractions import Fraction

import pytest
import torch
from scipy.stats import spearmanr

from spectrum_matching.metrics.ranks import chance_apart, rank_correlation


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3), (4, 2)])
def test_chance_apart_matches_enumeration(n, m):
    apart = 0
    for order in itertools.permutations(range(n + m)):
        own, others = order[:n], order[n:]
        apart += max(own) < min(others) or min(own) > max(others)
    assert chance_apart(n, m) == Fraction(apart, math.factorial(n + m))


def test_rank_correlation_matches_scipy():
    generator = torch.Generator().manual_seed(0)
    for n in (3, 6, 40):
        for levels in (4, 1000):
            one, other = torch.randint(0, levels, (2, n), generator=generator).double().tolist()
            expected = float(spearmanr(one, other).statistic) if len(set(one)) > 1 < len(set(other)) else None
            assert rank_correlation(one, other) == (None if expected is None else pytest.approx(expected, abs=1e-12))
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
