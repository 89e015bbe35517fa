import math

import pytest

from spectrum_matching.metrics.ranks import FEWEST, rank_correlation


def test_rank_correlation_of_known_orders():
    assert rank_correlation([1, 2, 3, 4, 5], [10, 20, 30, 40, 500]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx(-1)
    # 1 − 6 · Σd² / n(n² − 1), by hand.
    assert rank_correlation([1, 2, 3, 4, 5], [1, 3, 2, 4, 5]) == pytest.approx(0.9)
    # Ties share their mean rank: Pearson's correlation of (1, 2, 3, 4, 5) and (1.5, 1.5, 3, 4, 5).
    assert rank_correlation([1, 2, 3, 4, 5], [5, 5, 6, 7, 8]) == pytest.approx(0.95**0.5)


def test_rank_correlation_of_too_little_is_none():
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert rank_correlation([1] * 5, [1, 2, 3, 4, 5]) is None
    assert rank_correlation([1, 2, 3, 4, 5], [1] * 5) is None


def test_fewest_is_the_first_number_of_which_a_perfect_order_is_no_chance():
    assert 2 / math.factorial(FEWEST) < 0.05 < 2 / math.factorial(FEWEST - 1)
