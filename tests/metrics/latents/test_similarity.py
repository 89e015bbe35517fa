import pytest
import torch

from latents_of_tests import distances
from spectrum_matching.metrics.latents.similarity import cds, distance_cosines, lds, pair_counts
from spectrum_matching.spectrum import unit_tokens

SHAPES = [(2, 5, 8, 8), (3, 2, 6, 9), (1, 4, 16, 16), (2, 1, 3, 5)]


def cosine_matrix(x):
    tokens = unit_tokens(x).flatten(2)
    return tokens.mT @ tokens


def smooth(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64).cumsum(-1).cumsum(-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_cosines_are_means_over_all_pairs(shape, generator):
    x, apart = smooth(shape, generator), distances(*shape[-2:])
    pairs = cosine_matrix(x)
    expected = torch.stack([pairs[:, apart == d].mean(-1) for d in range(sum(shape[-2:]) - 1)], -1)
    torch.testing.assert_close(distance_cosines(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_pair_counts_count_all_pairs(shape):
    h, w = shape[-2:]
    assert pair_counts((h, w)).tolist() == distances(h, w).flatten().bincount().tolist()


@pytest.mark.parametrize("far", [2, 6])
def test_lds_matches_definition_over_all_pairs(far, generator):
    x, apart = smooth((3, 4, 6, 9), generator), distances(6, 9)
    pairs = cosine_matrix(x)
    expected = pairs[:, apart == 1].mean(-1) - pairs[:, apart >= far].mean(-1)
    torch.testing.assert_close(lds(distance_cosines(x), (6, 9), far), expected)


def test_cds_is_slope_of_a_line():
    line = 1 - 0.07 * torch.arange(15, dtype=torch.float64)
    assert float(cds(line)) == pytest.approx(0.07)
    assert float(cds(line, 3)) == pytest.approx(0.07)
    bent = torch.where(torch.arange(15) > 8, 0, line)
    assert float(cds(bent)) == pytest.approx(0.07)


def test_distance_cosines_ignore_scale_and_order_of_channels_not_offset(generator):
    x = torch.randn(4, 6, 16, 16, generator=generator, dtype=torch.float64)
    cosines = distance_cosines(x)
    torch.testing.assert_close(distance_cosines(-100 * x[:, torch.tensor([3, 0, 5, 1, 4, 2])]), cosines)
    assert (distance_cosines(x + 3)[:, 5] > cosines[:, 5] + 0.5).all()


def test_lds_and_cds_refuse_small_grids():
    cosines = distance_cosines(torch.ones(1, 2, 4, 3))
    with pytest.raises(ValueError, match="a 4 x 3 grid has no two positions 6 or more apart"):
        lds(cosines, (4, 3))
    with pytest.raises(ValueError, match="a slope needs cosines at two distances"):
        cds(distance_cosines(torch.ones(1, 2, 1, 2)))
