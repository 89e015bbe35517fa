import pytest
import torch

from spectrum_matching.metrics.latents.channels import (
    cell_covariance,
    cell_products,
    condition_number,
    correlation,
    dead_channels,
    effective_rank,
    outlier_channels,
    participation_ratio,
    power_sums,
    tails,
    top_share,
)


def test_the_covariance_from_sums_is_that_of_all_cells_at_once(generator):
    x = torch.randn(9, 4, 5, 6, generator=generator, dtype=torch.float64) + torch.arange(4).view(-1, 1, 1)
    sums = [(cell_products(b).sum(0), power_sums(b)[..., 0].sum(0)) for b in x.split(2)]
    products, values = (torch.stack(part).sum(0) for part in zip(*sums, strict=True))
    found = cell_covariance(products, values, torch.tensor(x[:, 0].numel()))
    cells = x.transpose(0, 1).flatten(1)
    torch.testing.assert_close(found, cells.cov())
    torch.testing.assert_close(correlation(found), cells.corrcoef())


def test_even_eigenvalues_fill_all_directions_and_one_fills_one():
    even, one = torch.full((6,), 3.0).double(), torch.tensor([0, 0, 5.0]).double()
    assert (float(participation_ratio(even)), float(top_share(even, 2)), float(condition_number(even))) == (6, 1 / 3, 1)
    assert (float(participation_ratio(one)), float(top_share(one))) == (1, 1)
    assert condition_number(one).isinf()


def test_orthogonal_features_have_full_rank_and_parallel_ones_that_of_one(generator):
    orthogonal = torch.linalg.qr(torch.randn(20, 5, generator=generator, dtype=torch.float64)).Q
    assert float(effective_rank(orthogonal, centre=False)) == pytest.approx(1)
    parallel = torch.outer(torch.arange(20.0), torch.ones(5)).double()
    assert float(effective_rank(parallel)) == pytest.approx(1 / 5)


def test_tails_of_known_laws(generator):
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    skewness, kurtosis = tails(power_sums(signs)[0], torch.tensor(4.0))
    assert (float(skewness), float(kurtosis)) == pytest.approx((0, -2))
    x = -torch.rand(1, 1, 1000, 1000, generator=generator, dtype=torch.float64).log()  # exponential
    skewness, kurtosis = tails(power_sums(x - 1)[0], torch.tensor(1e6))
    assert (float(skewness), float(kurtosis)) == pytest.approx((2, 6), rel=0.05)


def test_tails_do_not_depend_on_what_was_taken_for_the_mean(generator):
    x = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64).exp()
    near, off = (torch.stack(tails(power_sums(x - m).sum(0), torch.tensor(256.0))) for m in (1.65, 1.2))
    torch.testing.assert_close(near, off)


def test_a_dead_channel_is_one_that_vanishes_beside_the_largest():
    assert dead_channels(torch.tensor([1e3, 2e-3, 1e-3, 0.0])).tolist() == [False, False, True, True]
    assert dead_channels(torch.zeros(2)).all()


def test_outliers_are_measured_against_live_channels_alone():
    stds = torch.tensor([1.0, 1.1, 0.9, 5.5, 0.15, 0.0, 0.0, 0.0, 1.0, 1.0])
    kurtosis = torch.tensor([0.0] * 8 + [12.0, 3.0])
    assert outlier_channels(stds, kurtosis).nonzero()[:, 0].tolist() == [3, 4, 8]
    assert not outlier_channels(torch.zeros(3), torch.zeros(3)).any()
