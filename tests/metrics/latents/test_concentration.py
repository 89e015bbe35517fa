import pytest
import torch

from spectrum_matching.metrics.latents.concentration import (
    band_energy,
    concentration,
    energies,
    white_concentration,
    zigzag_order,
)
from spectrum_matching.spectrum import gaussian_blur, idct2

GRIDS = [(16, 16), (32, 32), (8, 12), (5, 7)]


@pytest.mark.parametrize(("place", "share"), [((7, 8), 0.0), ((8, 8), 1.0), ((0, 0), 0.0), ((15, 1), 1.0)])
def test_a_basis_image_lies_wholly_on_one_side_of_a_strict_threshold(place, share):
    coefficients = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    coefficients[:, :, *place] = 2.0
    assert concentration(idct2(coefficients), 0.5) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("rho", [0.25, 0.5])
@pytest.mark.parametrize("drop_dc", [False, True])
def test_white_noise_gives_the_share_of_coefficients(grid, rho, drop_dc, generator):
    noise = torch.randn(400, 8, *grid, generator=generator, dtype=torch.float64)
    expected = white_concentration(grid, rho, drop_dc)
    error = (2 * expected * (1 - expected) / noise.numel()) ** 0.5
    assert concentration(noise, rho, drop_dc) == pytest.approx(expected, abs=4 * error)


def test_the_share_of_coefficients_is_the_one_by_hand():
    assert white_concentration((16, 16), 0.25) == 0.859375
    assert white_concentration((32, 32), 0.5) == 0.484375


def test_batches_add_up_to_the_whole(generator):
    x = torch.randn(10, 4, 8, 8, generator=generator, dtype=torch.float64) * torch.arange(1, 11).view(-1, 1, 1, 1)
    rows = [energies(batch, 0.25) for batch in x.split(3)]
    high, total = (torch.cat(part).sum() for part in zip(*rows, strict=True))
    assert float(high / total) == pytest.approx(concentration(x), rel=1e-12)


def test_dropping_dc_is_the_same_as_centring_each_map(generator):
    x = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64) + 2
    centred = x - x.mean((-2, -1), keepdim=True)
    assert concentration(x, drop_dc=True) == pytest.approx(concentration(centred), rel=1e-12)
    assert concentration(x) < 0.5 * concentration(centred)


def test_a_blurred_latent_wins(generator):
    x = torch.randn(8, 4, 16, 16, generator=generator)
    assert concentration(gaussian_blur(x, 1.0)) < 0.5 * concentration(x)


def test_the_zigzag_is_that_of_jpeg():
    assert zigzag_order(8, 8)[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert sorted(zigzag_order(3, 5).tolist()) == list(range(15))


def test_bands_of_white_noise_hold_their_share_of_coefficients(generator):
    noise = torch.randn(200, 8, 16, 16, generator=generator)
    expected = torch.tensor([26] * 6 + [25] * 4, dtype=torch.float64) / 256
    torch.testing.assert_close(band_energy(noise), expected, rtol=0.02, atol=0)
