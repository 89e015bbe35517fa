import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind, ttest_rel

from spectrum_matching.metrics.pooled import FAMILY_WISE, POWER, Difference, differences, paired_differences

ONE, OTHER, THIRD = (1.0, 1.4, 1.1), (2.0, 2.5), (5.0, 5.1, 5.6)


def test_differences_of_two_groups_are_those_of_the_t_test():
    found = differences([ONE, OTHER], [(0, 1)])[0, 1]
    assert found.mean == pytest.approx(np.mean(ONE) - np.mean(OTHER))
    assert found.p == pytest.approx(ttest_ind(ONE, OTHER).pvalue)


def test_differences_pool_the_variance_of_all_groups():
    groups = [ONE, OTHER, THIRD]
    pooled = sum(np.var(group, ddof=1) * (len(group) - 1) for group in groups) / 5
    alone = differences(groups, [(0, 1)])[0, 1]
    t = (np.mean(OTHER) - np.mean(ONE)) / np.sqrt(pooled * (1 / 3 + 1 / 2))
    # The t distribution of 5 degrees of freedom in closed form.
    a = np.arctan(t / np.sqrt(5))
    central = 2 / np.pi * (a + np.sin(a) * (np.cos(a) + 2 / 3 * np.cos(a) ** 3))
    assert alone.p == pytest.approx(1 - central, rel=1e-6)


def test_differences_are_corrected_step_by_step():
    groups, pairs = [ONE, OTHER, THIRD], [(0, 1), (0, 2), (1, 2)]
    alone = {pair: differences(groups, [pair])[pair].p for pair in pairs}
    corrected = {pair: found.p for pair, found in differences(groups, pairs).items()}
    least, middle, greatest = sorted(pairs, key=alone.__getitem__)
    assert corrected[least] == pytest.approx(3 * alone[least])
    assert corrected[middle] == pytest.approx(max(3 * alone[least], 2 * alone[middle]))
    assert corrected[greatest] == pytest.approx(max(corrected[middle], alone[greatest]))


def test_differences_leave_out_groups_without_spread():
    assert differences([ONE, (4.0,), ()], [(0, 1), (0, 2), (1, 2)]) == {}
    assert differences([(1.0,), (2.0,)], [(0, 1)]) == {}
    # A single seed changes nothing in the others' comparison.
    assert differences([ONE, OTHER, (9.0,)], [(0, 1), (0, 2)]) == differences([ONE, OTHER], [(0, 1)])


def test_differences_count_methods_of_one_autoencoder_once():
    twice = differences([ONE, OTHER, ONE], [(0, 1)])
    assert twice == differences([ONE, OTHER], [(0, 1)])
    assert differences([ONE, OTHER, ONE], [(2, 0)])[2, 0][:2] == (0.0, 1.0)


def test_differences_count_the_finished_seeds_of_a_shared_autoencoder_once():
    (found,) = differences([ONE, ONE[:2], OTHER], [(0, 2)]).values()
    assert found == differences([ONE, OTHER], [(0, 1)])[0, 1]


def test_difference_word_follows_the_sign_and_the_family_wise_error():
    assert Difference(-1.0, FAMILY_WISE - 1e-9, 1.0).word == "lower"
    assert Difference(1.0, FAMILY_WISE - 1e-9, 1.0).word == "higher"
    assert Difference(1.0, FAMILY_WISE, 1.0).word == "undecided"
    assert Difference(0.0, 0.0, 1.0).word == "undecided"


def test_differences_of_equal_methods_are_rarely_decided():
    generator, n, control = np.random.default_rng(0), 600, 0
    pairs, wrong = [(method, control) for method in range(1, 7)], 0
    for _ in range(n):
        groups = generator.normal(size=(7, 3)).tolist()
        wrong += any(found.word != "undecided" for found in differences(groups, pairs).values())
    # Holm's bound is an upper one: tests against one control are not independent.
    assert 0.02 < wrong / n < FAMILY_WISE + 3 * (FAMILY_WISE * (1 - FAMILY_WISE) / n) ** 0.5


def by_seed(*groups):
    return [dict(enumerate(group)) for group in groups]


def test_paired_differences_of_two_groups_are_those_of_the_paired_t_test():
    one, other = (1.0, 5.4, 3.1, 9.0), (2.0, 6.1, 4.5, 9.7)
    found = paired_differences(by_seed(one, other), [(0, 1)])[0, 1]
    assert found.mean == pytest.approx(np.mean(one) - np.mean(other))
    assert found.p == pytest.approx(ttest_rel(one, other).pvalue)


def test_paired_differences_are_those_of_the_two_way_analysis_of_variance():
    values = np.random.default_rng(2).normal(size=(3, 4))
    found = paired_differences(by_seed(*values), [(0, 2)])[0, 2]
    # Least squares with a column for each group, and for each seed but the first.
    groups, seeds = np.divmod(np.arange(12), 4)
    design = np.column_stack([np.eye(3)[groups], np.eye(4)[seeds][:, 1:]])
    fit, (squares,), *_ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    contrast = np.array([1, 0, -1, 0, 0, 0])
    error = np.sqrt(squares / 6 * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    assert found.mean == pytest.approx(contrast @ fit)
    assert found.p == pytest.approx(2 * student.sf(abs(contrast @ fit) / error, 6))


def test_paired_differences_ignore_what_seeds_add():
    values = np.random.default_rng(3).normal(size=(3, 4))
    pairs = [(1, 0), (2, 0)]
    plain = paired_differences(by_seed(*values), pairs)
    shifted = paired_differences(by_seed(*(values + np.array([0, 100, -50, 7]))), pairs)
    for pair in pairs:
        assert shifted[pair] == pytest.approx(plain[pair])


def test_paired_differences_take_every_seed_that_connects_groups():
    values = np.random.default_rng(5).normal(size=(4, 4))
    groups = by_seed(*values)
    groups[1] = {0: values[1, 0], 3: values[1, 3]}
    groups[3] = {1: values[3, 1]}
    found = paired_differences(groups, [(1, 0), (2, 0), (3, 0)])
    assert list(found) == [(1, 0), (2, 0)]
    # Least squares with a column for each group, and for each seed but the first.
    cells = [(i, seed, value) for i, group in enumerate(groups[:3]) for seed, value in group.items()]
    design = np.array([np.eye(3)[i].tolist() + np.eye(4)[seed].tolist()[1:] for i, seed, _ in cells])
    fit, (squares,), *_ = np.linalg.lstsq(design, np.array([value for *_, value in cells]), rcond=None)
    contrast = np.array([-1, 1, 0, 0, 0, 0])
    error = np.sqrt(squares / 4 * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    p = 2 * student.sf(abs(contrast @ fit) / error, 4)
    assert found[1, 0].mean == pytest.approx(contrast @ fit)
    assert found[1, 0].p in (pytest.approx(2 * p), pytest.approx(max(p, found[2, 0].p)))


def test_paired_differences_leave_out_groups_that_no_seed_connects():
    apart = [{0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.5}]
    assert paired_differences(apart, [(0, 1)]) == {}
    assert list(paired_differences([*apart, {0: 1.1, 1: 2.3}], [(0, 1), (0, 2)])) == [(0, 2)]
    assert paired_differences([{0: 1.0}, {0: 2.0}], [(0, 1)]) == {}


@pytest.mark.parametrize("groups", [(ONE, ONE), ((0.1, 0.7), (0.2, 0.8)), ((0.0, 1.0), (1.0, 2.0))])
def test_paired_differences_without_any_spread_are_undecided(groups):
    found = paired_differences(by_seed(*groups), [(0, 1)])[0, 1]
    assert found.p == 1
    assert np.isnan(found.detectable)


def test_paired_differences_of_equal_methods_are_rarely_decided_however_seeds_differ():
    generator, n = np.random.default_rng(4), 600
    pairs, wrong = [(method, 0) for method in range(1, 7)], 0
    for _ in range(n):
        values = generator.normal(size=(7, 3)) + 10 * generator.normal(size=3)
        wrong += any(found.word != "undecided" for found in paired_differences(by_seed(*values), pairs).values())
    assert 0.02 < wrong / n < FAMILY_WISE + 3 * (FAMILY_WISE * (1 - FAMILY_WISE) / n) ** 0.5


@pytest.mark.parametrize("shift", [None, 10.0])
@pytest.mark.parametrize(("n_methods", "n_seeds"), [(3, 3), (7, 3)])
def test_differences_of_the_detectable_size_are_found_with_the_power(n_methods, n_seeds, shift):
    generator, n = np.random.default_rng(1), 600
    pairs = [(method, 0) for method in range(1, n_methods)]

    def compared(values):
        if shift is None:
            return differences(values.tolist(), pairs)[1, 0]
        return paired_differences(by_seed(*(values + shift * generator.normal(size=n_seeds))), pairs)[1, 0]

    # Proportional to the estimated spread, whose square is unbiased.
    draws = [compared(generator.normal(size=(n_methods, n_seeds))).detectable for _ in range(n)]
    detectable, found = np.sqrt(np.mean(np.square(draws))), 0
    for _ in range(n):
        values = generator.normal(size=(n_methods, n_seeds))
        values[1] += detectable
        found += compared(values).word == "higher"
    # Three deviations of each of the two simulations.
    assert found / n == pytest.approx(POWER, abs=6 * (POWER * (1 - POWER) / n) ** 0.5)
