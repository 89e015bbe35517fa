import pytest
import torch

from spectrum_matching.metrics.latents.tokens import (
    cds,
    distance_cosines,
    lds,
    lds_paper,
    local_correlation,
    neighbour_correlation,
    pair_counts,
    srss,
)
from spectrum_matching.spectrum import unit_tokens

SHAPES = [(2, 5, 8, 8), (3, 2, 6, 9), (1, 4, 16, 16), (2, 1, 3, 5)]


def distances(h, w):
    """Manhattan distance of every ordered pair of cells: (T, T)."""
    cells = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    return (cells[:, None] - cells).abs().sum(-1)


def cosine_matrix(x):
    tokens = unit_tokens(x).flatten(2)
    return tokens.mT @ tokens


def smooth(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64).cumsum(-1).cumsum(-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_cosines_are_those_of_all_pairs(shape, generator):
    x, apart = smooth(shape, generator), distances(*shape[-2:])
    pairs = cosine_matrix(x)
    expected = torch.stack([pairs[:, apart == d].mean(-1) for d in range(sum(shape[-2:]) - 1)], -1)
    torch.testing.assert_close(distance_cosines(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_are_counted_as_they_are(shape):
    h, w = shape[-2:]
    assert pair_counts((h, w)).tolist() == distances(h, w).flatten().bincount().tolist()


@pytest.mark.parametrize("far", [2, 6])
def test_lds_is_its_definition_over_all_pairs(far, generator):
    x, apart = smooth((3, 4, 6, 9), generator), distances(6, 9)
    pairs = cosine_matrix(x)
    expected = pairs[:, apart == 1].mean(-1) - pairs[:, apart >= far].mean(-1)
    torch.testing.assert_close(lds(distance_cosines(x), (6, 9), far), expected)


def test_the_papers_lds_is_its_definition_without_self_pairs(generator):
    x, apart = smooth((3, 4, 8, 8), generator), distances(8, 8)
    pairs = cosine_matrix(x)
    expected = pairs[:, (apart > 0) & (apart < 4)].mean(-1) - pairs[:, apart >= 4].mean(-1)
    torch.testing.assert_close(lds_paper(distance_cosines(x), (8, 8)), expected)


def test_cosines_that_fall_on_a_line_give_its_slope():
    line = 1 - 0.07 * torch.arange(15, dtype=torch.float64)
    assert float(cds(line)) == pytest.approx(0.07)
    assert float(cds(line, 3)) == pytest.approx(0.07)
    bent = torch.where(torch.arange(15) > 8, 0, line)
    assert float(cds(bent)) == pytest.approx(0.07)


def test_scale_and_order_of_channels_change_nothing_but_an_offset_does(generator):
    x = torch.randn(4, 6, 16, 16, generator=generator, dtype=torch.float64)
    cosines = distance_cosines(x)
    torch.testing.assert_close(distance_cosines(-100 * x[:, torch.tensor([3, 0, 5, 1, 4, 2])]), cosines)
    assert (distance_cosines(x + 3)[:, 5] > cosines[:, 5] + 0.5).all()


def test_grids_without_distant_cells_are_refused():
    cosines = distance_cosines(torch.ones(1, 2, 4, 3))
    with pytest.raises(ValueError, match=r"a 4 x 3 grid has no two cells at a distance in 6 \.\.\. 5"):
        lds(cosines, (4, 3))
    with pytest.raises(ValueError, match="a slope needs cosines at two distances"):
        cds(distance_cosines(torch.ones(1, 2, 1, 2)))


@pytest.mark.parametrize(("near", "far"), [(1, 6), (2, 5), (3, 4)])
def test_srss_is_its_definition_over_all_pairs(near, far, generator):
    x, apart = smooth((4, 3, 9, 7), generator), distances(9, 7)
    masks = torch.rand(4, 9, 7, generator=generator) < torch.tensor([0.2, 0.5, 0.8, 1.0]).view(-1, 1, 1)
    expected = []
    for pairs, mask in zip(cosine_matrix(x), masks.flatten(1), strict=True):
        contrasts = []
        for anchor in mask.nonzero()[:, 0]:
            similar = pairs[anchor, mask & (apart[anchor] >= 1) & (apart[anchor] <= near)]
            remote = pairs[anchor, ~mask & (apart[anchor] >= far)]
            if len(similar) and len(remote):
                contrasts.append(similar.mean() - remote.mean())
        expected.append(torch.stack(contrasts).mean() if contrasts else torch.tensor(torch.nan, dtype=torch.float64))
    assert expected[-1].isnan()
    torch.testing.assert_close(srss(x, masks, near, far), torch.stack(expected), equal_nan=True)


@pytest.mark.parametrize("window", [2, 4])
def test_cells_that_are_alike_within_each_window_correlate_wholly(window, generator):
    x = torch.randn(3, 5, 8 // window, 8 // window, generator=generator, dtype=torch.float64)
    x = x.repeat_interleave(window, -1).repeat_interleave(window, -2)
    torch.testing.assert_close(local_correlation(x, window), torch.ones(3, dtype=torch.float64))


def test_one_channel_or_what_all_channels_share_has_no_local_correlation(generator):
    x = torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64)
    assert local_correlation(x).abs().max() == 0
    assert local_correlation(x.repeat(1, 5, 1, 1)).abs().max() < 1e-12


def test_two_channels_correlate_by_one_or_minus_one(generator):
    x = torch.randn(1, 2, 2, 2, generator=generator, dtype=torch.float64)
    signs = (x[:, 0] - x[:, 1]).sign().flatten()
    expected = (signs.sum() ** 2 - 4) / 12
    assert float(local_correlation(x)) == pytest.approx(float(expected), abs=1e-6)


def test_windows_must_fill_the_grid():
    with pytest.raises(ValueError, match="a 7 x 8 field does not divide into blocks of 2 x 2"):
        local_correlation(torch.ones(1, 3, 7, 8))


def test_adjacent_cells_correlate_as_they_were_made_to(generator):
    noise = torch.randn(200, 2, 16, 17, generator=generator, dtype=torch.float64)
    rows = (noise[..., 1:] + noise[..., :-1]) / 2**0.5  # 1/2 along rows, 0 along columns
    torch.testing.assert_close(
        neighbour_correlation(rows).mean(0), torch.full((2,), 0.25, dtype=torch.float64), rtol=0, atol=0.01
    )
    constant = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    torch.testing.assert_close(neighbour_correlation(constant), torch.ones(2, 3))
