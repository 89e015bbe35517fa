from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrum_matching.seeding import indexed_noise, spread, spread_keys


def test_indexed_noise_follows_from_index_and_position():
    whole = indexed_noise((4, 3, 8), range(2, 6), "a", 0)
    alone = [indexed_noise((1, 3, 8), [2 + i], "a", 0) for i in range(4)]
    assert torch.equal(whole, torch.cat(alone))
    assert torch.equal(indexed_noise((2, 3, 8), (5, 3), "a", 0), whole[[3, 1]])
    assert len(whole[:, 0, 0].unique()) == 4
    assert not torch.equal(indexed_noise((1, 9), [0], "a", 0), indexed_noise((1, 9), [0], "a", 1))


@given(st.integers(0, 10**7), st.integers(0, 200), st.integers(0, 2**62))
def test_spread_takes_one_index_of_each_stratum(n_total, n, seed):
    found, n_found = spread(n_total, n, seed), min(n, n_total)
    strata = [range(i * n_total // n_found, (i + 1) * n_total // n_found) for i in range(n_found)]
    assert len(found) == n_found
    assert all(index in stratum for index, stratum in zip(found, strata, strict=True))
    assert found == spread(n_total, n, seed)


@given(st.integers(0, 300))
def test_spread_of_all_is_all(n):
    assert spread(n) == spread(n, n) == spread(n, n + 1) == list(range(n))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 500))
def test_spread_gives_each_class_of_a_sorted_set_its_share(sizes, n):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    counts = Counter(labels[index] for index in spread(len(labels), n))
    n = min(n, len(labels))
    for label, size in enumerate(sizes):
        assert abs(counts[label] - n * size / len(labels)) < 2  # a stratum at either end is cut


def test_spread_sees_classes_that_take_turns():
    """Every fifth of 50,000 images would be of 200 of 1,000 classes."""
    assert len({index % 1000 for index in range(0, 50_000, 5)}) == 200
    assert len({index % 1000 for index in spread(50_000, 10_000)}) == 1000


def test_spread_depends_on_the_seed():
    assert spread(1000, 10, 0) != spread(1000, 10, 1)


@given(st.integers(0, 10), st.integers(0, 2**20))
def test_spread_keys_are_even_at_every_scale(level, block):
    """Of 2^m consecutive indices one has its key in each interval of 2^-m."""
    n = 2**level
    keys = spread_keys(torch.arange(n) + block * n)
    assert (keys * n).long().sort().values.tolist() == list(range(n))


def test_spread_keys_follow_from_the_index_alone():
    whole = spread_keys(torch.arange(5000))
    assert torch.equal(spread_keys(torch.tensor([843, 5])), whole[[843, 5]])
    assert len(whole.unique()) == 5000
    assert whole.min() >= 0
    assert whole.max() < 1


def test_smallest_spread_keys_stand_for_sorted_classes_and_for_such_that_take_turns():
    chosen = spread_keys(torch.arange(50_000)).argsort()[:10_000]
    sizes = torch.bincount(chosen // 50, minlength=1000)
    assert (sizes.min() > 5, sizes.max() < 15) == (True, True)  # of 10, where a sample at random has some of 2
    assert abs(torch.bincount(chosen // 5000) - 1000).max() < 10
    for period in (2, 3, 8, 10, 64, 100, 1000, 1024):
        sizes, expected = torch.bincount(chosen % period, minlength=period), 10_000 / period
        assert abs(sizes - expected).max() < 5.5 * expected**0.5, period  # as at random
        assert sizes.min() > 0, period
