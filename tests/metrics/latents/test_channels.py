import pytest
import torch

from spectrum_matching.metrics.latents.channels import HEAVY, OUTLYING, excess_kurtosis, outlier_channels, power_sums


def test_excess_kurtosis_of_known_laws(generator):
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert float(excess_kurtosis(power_sums(signs)[0], torch.tensor(4.0))) == pytest.approx(-2)
    x = -torch.rand(1, 1, 1000, 1000, generator=generator, dtype=torch.float64).log()  # exponential
    assert float(excess_kurtosis(power_sums(x - 1)[0], torch.tensor(1e6))) == pytest.approx(6, rel=0.05)


def test_excess_kurtosis_does_not_depend_on_offset(generator):
    x = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64).exp()
    near, off = (excess_kurtosis(power_sums(x - m).sum(0), torch.tensor(256.0)) for m in (1.65, 1.2))
    torch.testing.assert_close(near, off)


def test_excess_kurtosis_of_a_constant_is_none():
    x = torch.stack([torch.full((8, 9), 0.1), torch.tensor([0.1] * 71 + [0.1001]).view(8, 9)])[None].double()
    assert excess_kurtosis(power_sums(x)[0], torch.tensor(72.0)).isnan().tolist() == [True, False]


def test_outlier_channels_are_judged_by_live_channels():
    stds = torch.tensor([1.0, 1.1, 0.9, 5.5, 0.15, 0.0, 0.0, 0.0, 1.0, 1.0])
    kurtosis = torch.tensor([0.0] * 8 + [12.0, 3.0])
    assert outlier_channels(stds, kurtosis).nonzero()[:, 0].tolist() == [3, 4, 8]
    assert not outlier_channels(torch.zeros(3), torch.zeros(3)).any()


@pytest.mark.parametrize("side", [-1, 1])
def test_outlier_channels_thresholds_are_strict(side):
    eps = side * 1e-12
    stds = torch.tensor([1.0, 1.0, 1.0, OUTLYING * (1 + eps), (1 - eps) / OUTLYING], dtype=torch.float64)
    assert outlier_channels(stds, torch.zeros(5)).tolist() == [False] * 3 + [side > 0] * 2
    kurtosis = torch.tensor([0.0, HEAVY * (1 + eps), -HEAVY * (1 + eps)], dtype=torch.float64)
    assert outlier_channels(torch.ones(3), kurtosis).tolist() == [False] + [side > 0] * 2
