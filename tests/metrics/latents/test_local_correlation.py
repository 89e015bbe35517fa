import pytest
import torch

from spectrum_matching.metrics.latents.local_correlation import local_correlation, neighbour_correlation


@pytest.mark.parametrize("window", [2, 4])
def test_local_correlation_is_one_for_constant_windows(window, generator):
    x = torch.randn(3, 5, 8 // window, 8 // window, generator=generator, dtype=torch.float64)
    x = x.repeat_interleave(window, -1).repeat_interleave(window, -2)
    torch.testing.assert_close(local_correlation(x, window), torch.ones(3, dtype=torch.float64))


def test_local_correlation_ignores_what_channels_share(generator):
    x = torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64)
    assert local_correlation(x).abs().max() == 0
    assert local_correlation(x.repeat(1, 5, 1, 1)).abs().max() < 1e-12


def test_local_correlation_of_two_channels_is_of_signs(generator):
    x = torch.randn(1, 2, 2, 2, generator=generator, dtype=torch.float64)
    signs = (x[:, 0] - x[:, 1]).sign().flatten()
    expected = (signs.sum() ** 2 - 4) / 12
    assert float(local_correlation(x)) == pytest.approx(float(expected), abs=1e-6)


def test_local_correlation_requires_windows_to_fill_grid():
    with pytest.raises(ValueError, match="a 7 x 8 field does not divide into blocks of 2 x 2"):
        local_correlation(torch.ones(1, 3, 7, 8))


def test_neighbour_correlation_recovers_constructed_correlation(generator):
    noise = torch.randn(200, 2, 16, 17, generator=generator, dtype=torch.float64)
    rows = (noise[..., 1:] + noise[..., :-1]) / 2**0.5  # 1/2 along rows, 0 along columns
    torch.testing.assert_close(
        neighbour_correlation(rows).mean(0), torch.full((2,), 0.25, dtype=torch.float64), rtol=0, atol=0.01
    )
    constant = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    torch.testing.assert_close(neighbour_correlation(constant), torch.ones(2, 3))
