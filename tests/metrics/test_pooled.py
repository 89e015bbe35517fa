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
    assert differences([ONE, OTHER, ONE], [(2, 0)])[2, 0]._replace(detectable=0.0) == Difference(0.0, 1.0, 0.0)


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


def test_paired_differences_take_the_seeds_that_all_groups_share():
    one, other, third = by_seed((1.0, 5.0, 3.5, 8.0), (2.0, 5.5, 4.0), (1.5, 5.1, 3.1, 7.0))
    found = paired_differences([one, other, {7: 1.0}, third], [(1, 0), (2, 0), (3, 0)])
    short = [{seed: group[seed] for seed in range(3)} for group in (one, other, third)]
    assert list(found) == [(1, 0), (3, 0)]
    assert list(found.values()) == list(paired_differences(short, [(1, 0), (2, 0)]).values())
    assert paired_differences([{0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0}], [(0, 1)]) == {}
    assert paired_differences([{0: 1.0}, {0: 2.0}], [(0, 1)]) == {}


def test_paired_differences_of_equal_groups_are_undecided():
    assert paired_differences(by_seed(ONE, ONE), [(0, 1)])[0, 1] == Difference(0.0, 1.0, 0.0)


def test_paired_differences_of_equal_methods_are_rarely_decided_however_seeds_differ():
    generator, n = np.random.default_rng(4), 600
    pairs, wrong = [(method, 0) for method in range(1, 7)], 0
    for _ in range(n):
        values = generator.normal(size=(7, 3)) + 10 * generator.normal(size=3)
        wrong += any(found.word != "undecided" for found in paired_differences(by_seed(*values), pairs).values())
    assert 0.02 < wrong / n < FAMILY_WISE + 3 * (FAMILY_WISE * (1 - FAMILY_WISE) / n) ** 0.5


@pytest.mark.parametrize(("n_methods", "n_seeds"), [(2, 2), (4, 2), (7, 3)])
def test_differences_of_the_detectable_size_are_found_with_the_power(n_methods, n_seeds):
    generator, n = np.random.default_rng(1), 600
    pairs = [(method, 0) for method in range(1, n_methods)]
    # The standard error, and so the detectable difference, is proportional to the estimated deviation: here it is 1.
    unit = [[-(0.5**0.5), 0.5**0.5]] * n_methods if n_seeds == 2 else [[-1.0, 0.0, 1.0]] * n_methods
    shifted = [[value + 10 * method for value in group] for method, group in enumerate(unit)]
    detectable = differences(shifted, pairs)[1, 0].detectable
    found = 0
    for _ in range(n):
        groups = generator.normal(size=(n_methods, n_seeds))
        groups[1] += detectable
        found += differences(groups.tolist(), pairs)[1, 0].word == "higher"
    assert found / n == pytest.approx(POWER, abs=3 * (POWER * (1 - POWER) / n) ** 0.5)
