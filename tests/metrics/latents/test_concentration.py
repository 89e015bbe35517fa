import pytest
import torch

from spectrum_matching.metrics.latents.concentration import concentration, energies, white_concentration
from spectrum_matching.spectrum import gaussian_blur, idct2

GRIDS = [(16, 16), (32, 32), (8, 12), (5, 7)]


@pytest.mark.parametrize(("uv", "share"), [((7, 8), 0.0), ((8, 8), 1.0), ((0, 0), 0.0), ((15, 1), 1.0)])
def test_concentration_has_a_strict_threshold(uv, share):
    coefficients = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    coefficients[:, :, *uv] = 2.0
    assert concentration(idct2(coefficients), 0.5) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("rho", [0.25, 0.5])
def test_white_concentration_is_that_of_white_noise(grid, rho, generator):
    noise = torch.randn(400, 8, *grid, generator=generator, dtype=torch.float64)
    expected = white_concentration(grid, rho)
    error = (2 * expected * (1 - expected) / noise.numel()) ** 0.5
    assert concentration(noise, rho) == pytest.approx(expected, abs=4 * error)


def test_white_concentration_by_hand():
    assert white_concentration((16, 16), 0.25) == 0.859375
    assert white_concentration((32, 32), 0.5) == 0.484375


def test_energies_of_batches_sum_to_concentration(generator):
    x = torch.randn(10, 4, 8, 8, generator=generator, dtype=torch.float64) * torch.arange(1, 11).view(-1, 1, 1, 1)
    rows = [energies(batch, 0.25) for batch in x.split(3)]
    high, total = (torch.cat(part).sum() for part in zip(*rows, strict=True))
    assert float(high / total) == pytest.approx(concentration(x), rel=1e-12)


def test_concentration_falls_with_blur(generator):
    x = torch.randn(8, 4, 16, 16, generator=generator)
    assert concentration(gaussian_blur(x, 1.0)) < 0.5 * concentration(x)
