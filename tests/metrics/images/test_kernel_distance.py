from dataclasses import astuple

import pytest
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance

from spectrum_matching.metrics.images.kernel_distance import kernel_distance


def draws(seed, n, d=6, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_kernel_distance_equals_torchmetrics():
    a, b = draws(0, 40), draws(1, 40, shift=0.5)
    oracle = KernelInceptionDistance(feature=nn.Identity(), subsets=1, subset_size=40, normalize=True)
    oracle.update(a, real=True)
    oracle.update(b, real=False)
    assert kernel_distance(a, b).value == pytest.approx(float(oracle.compute()[0]), rel=1e-10)


def test_kernel_distance_is_unbiased_and_its_error_predicts_spread():
    results = [kernel_distance(draws(2 * i, 60, shift=0.4), draws(2 * i + 1, 50)) for i in range(200)]
    values = torch.tensor([each.value for each in results])
    many = kernel_distance(draws(1000, 4000, shift=0.4), draws(1001, 4000))
    assert abs(values.mean() - many.value) < 3 * values.std() / 200**0.5 + 2 * many.standard_error
    predicted = sum(each.standard_error for each in results) / len(results)
    assert predicted == pytest.approx(float(values.std()), rel=0.25)


def test_kernel_distance_of_equal_distributions_is_centred_on_zero():
    values = [kernel_distance(draws(2 * i, 30), draws(2 * i + 1, 30)).value for i in range(100)]
    assert 30 < sum(value < 0 for value in values) < 85


def test_kernel_distance_ignores_order_and_chunks(monkeypatch):
    a, b = draws(0, 33), draws(1, 27, shift=1)
    whole = astuple(kernel_distance(a, b))[:2]
    assert astuple(kernel_distance(b, a.flip(0)))[:2] == pytest.approx(whole, rel=1e-10)
    monkeypatch.setattr("spectrum_matching.metrics.images.kernel_distance.CHUNK", 5)
    assert astuple(kernel_distance(a, b))[:2] == pytest.approx(whole, rel=1e-10)


def test_kernel_distance_refuses_other_sizes_and_single_images():
    with pytest.raises(ValueError, match="cannot be compared"):
        kernel_distance(draws(0, 5, 3), draws(0, 5, 4))
    with pytest.raises(ValueError, match="at least 2 images on each side, got 1 and 5"):
        kernel_distance(draws(0, 1), draws(0, 5))
