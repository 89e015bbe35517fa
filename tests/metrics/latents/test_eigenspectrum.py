import pytest
import torch

from spectrum_matching.metrics.latents.eigenspectrum import (
    channel_covariance,
    channel_products,
    condition_number,
    effective_rank,
    participation_ratio,
    top_share,
)


def test_channel_covariance_from_sums_is_that_of_all_positions(generator):
    x = torch.randn(9, 4, 5, 6, generator=generator, dtype=torch.float64) + torch.arange(4).view(-1, 1, 1)
    sums = [(channel_products(b).sum(0), b.sum((0, 2, 3))) for b in x.split(2)]
    products, values = (torch.stack(part).sum(0) for part in zip(*sums, strict=True))
    found = channel_covariance(products, values, torch.tensor(x[:, 0].numel()))
    positions = x.transpose(0, 1).flatten(1)
    torch.testing.assert_close(found, positions.cov())


def test_participation_ratio_top_share_condition_number_by_hand():
    even, one = torch.full((6,), 3.0).double(), torch.tensor([0, 0, 5.0]).double()
    assert (float(participation_ratio(even)), float(top_share(even)), float(condition_number(even))) == (6, 1 / 6, 1)
    assert (float(participation_ratio(one)), float(top_share(one))) == (1, 1)
    assert condition_number(one).isinf()
    assert condition_number(torch.tensor([1e-16, 5.0]).double()).isinf()  # a positive rounding of 0


def test_effective_rank_of_orthogonal_and_parallel_features(generator):
    orthogonal = torch.linalg.qr(torch.randn(20, 5, generator=generator, dtype=torch.float64)).Q
    assert float(effective_rank(orthogonal, centre=False)) == pytest.approx(1)
    parallel = torch.outer(torch.arange(20.0), torch.ones(5)).double()
    assert float(effective_rank(parallel)) == pytest.approx(1 / 5)
