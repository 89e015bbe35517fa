import math

import pytest
import torch

from spectrum_matching.metrics.estimates import (
    N_GROUPS,
    GroupedSums,
    estimate_class_mean,
    estimate_mean,
    estimate_ratio,
    jackknife,
    jackknife_rows,
    jackknife_scalar,
)


def rows(n, generator):
    return torch.rand(n, generator=generator, dtype=torch.float64)


def grouped(batches):
    sums, first = GroupedSums(), 0
    for batch in batches:
        sums.add("x", batch, first)
        sums.add("n", torch.ones(len(batch), dtype=torch.float64), first)
        first += len(batch)
    return sums["x"], sums["n"]


def test_jackknife_of_a_mean_is_the_plain_error(generator):
    x = rows(N_GROUPS, generator)
    value, error = jackknife(lambda total, n: total / n, *grouped([x]))
    expected = estimate_mean(x)
    assert (float(value), float(error)) == pytest.approx((expected.value, expected.standard_error))
    assert expected.standard_error == pytest.approx(float(x.std()) / math.sqrt(N_GROUPS))


def test_jackknife_has_no_error_where_a_deleted_value_is_not_finite(generator):
    only_first = torch.zeros(N_GROUPS, dtype=torch.float64)
    only_first[0] = 0.1 + 0.2
    x = torch.stack([rows(N_GROUPS, generator), only_first], 1)
    value, error = jackknife(lambda total, n: total.sum() / total, *grouped([x]))
    assert value.isfinite().all()
    assert error.isnan().tolist() == [False, True]
    number = jackknife_scalar(lambda total, n: total.sum() / total[1], *grouped([x]))
    assert (number.value, number.standard_error) == (float(value[1]), None)
    number = jackknife_rows(lambda kept: kept.sum() / kept[:, 1].sum(), x)
    assert (number.value, number.standard_error) == (pytest.approx(float(value[1])), None)


def test_jackknife_deletes_a_group_without_rounding():
    x = torch.tensor([1e16, *[1.0] * (N_GROUPS - 1)], dtype=torch.float64)
    seen = []
    jackknife(lambda total, n: seen.append((float(total), float(n))) or total, *grouped([x]))
    assert seen[1] == (N_GROUPS - 1, N_GROUPS - 1)


def test_grouped_sums_ignore_batches(generator):
    x = rows(70, generator)
    for whole, cut in zip(grouped([x]), grouped(x.split(9)), strict=True):
        torch.testing.assert_close(whole, cut)


def test_estimate_ratio_agrees_with_jackknife_rows(generator):
    parts, wholes = rows(2000, generator), 1 + rows(2000, generator)
    number = estimate_ratio(parts, wholes, 0.3)
    assert number.value == pytest.approx(float(parts.sum() / wholes.sum()))
    assert number.white == 0.3
    pairs = torch.stack([parts, wholes], 1)
    other = jackknife_rows(lambda kept: kept[:, 0].sum() / kept[:, 1].sum(), pairs)
    assert other.value == pytest.approx(number.value)
    assert other.standard_error == pytest.approx(number.standard_error, rel=0.5)


def test_estimates_of_one_image_have_no_standard_error(generator):
    one = rows(1, generator)
    assert estimate_mean(one).standard_error is None
    assert estimate_ratio(one, one + 1).standard_error is None
    assert jackknife(lambda total, n: total / n, *grouped([one]))[1].isnan()
    assert jackknife_rows(torch.mean, rows(2, generator)).standard_error is None


def test_estimate_class_mean_counts_classes_alike():
    rows, labels = torch.tensor([1.0, 0, 1, 1, 0, 0, 0, 0]), torch.tensor([4, 4, 4, 4, 9, 9, 9, 9])
    number = estimate_class_mean(rows, labels, 0.5)
    # Variances of 0.75 · 0.25 · 4/3 in one class and none in the other.
    assert (number.value, number.white) == (0.375, 0.5)
    assert number.standard_error == pytest.approx(math.sqrt(0.25 / 4) / 2)
    repeated = estimate_class_mean(torch.cat([rows, rows[4:]]), torch.cat([labels, labels[4:]]))
    assert (repeated.value, repeated.standard_error) == pytest.approx((number.value, number.standard_error))


def test_estimate_class_mean_of_one_class_is_the_mean(generator):
    x = rows(30, generator)
    plain, number = estimate_mean(x), estimate_class_mean(x, torch.zeros(30))
    assert (number.value, number.standard_error) == pytest.approx((plain.value, plain.standard_error))
    assert estimate_class_mean(x, torch.arange(30) // 29).standard_error is None
