import pytest

from spectrum_matching.metrics.ranks import rank_correlation


def test_rank_correlation_of_known_orders():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # 1 − 6 · Σd² / n(n² − 1), by hand.
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    # Ties share their mean rank: Pearson's correlation of (1, 2, 3) and (1.5, 1.5, 3).
    assert rank_correlation([1, 2, 3], [5, 5, 7]) == pytest.approx(0.75**0.5)


def test_rank_correlation_of_too_little_is_none():
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2, 3], [1, 1, 1]) is None
