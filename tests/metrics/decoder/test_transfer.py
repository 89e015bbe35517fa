import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import interpolate, pixel_shuffle

from spectrum_matching.metrics.decoder.transfer import (
    band_response,
    band_transfer,
    filled_rings,
    image_rings,
    ring_edges,
)
from spectrum_matching.spectrum import dct2, gaussian_blur
from spectrum_matching.spectrum.power import radial_bins


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()


@pytest.fixture
def transferred(decoder_batch):
    def measure(decode, latents, stds=None):
        batch = decoder_batch(decode, latents, stds)
        rows = band_response(batch)
        transfer = band_transfer(rows, batch.test.grid, batch.test.size)
        tensors = {
            "edges": transfer.frequencies,
            "shares": transfer.shares,
            "gains": transfer.gains,
            "white": transfer.even,
            "diagonal_share": float(transfer.diagonal),
        }
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in tensors.items()}
        return SimpleNamespace(**tensors), rows

    return measure


def nearest(latents):
    return interpolate(latents, scale_factor=2, mode="nearest")


@pytest.mark.parametrize("grid", [(32, 32), (24, 16), (9, 9)])
def test_band_transfer_of_identity_decoder_is_diagonal(grid, transferred):
    found, _ = transferred(lambda latents: latents, noise(2, 3, *grid))
    n = len(found.edges)
    expected = torch.cat([torch.eye(n), torch.zeros(n, 1)], dim=1).double()
    torch.testing.assert_close(found.shares, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.gains, torch.ones(n).double(), atol=1e-4, rtol=0)
    assert found.diagonal_share == pytest.approx(1, abs=1e-6)
    assert found.white[-1] == 0


def test_image_rings_are_latent_rings_and_beyond():
    grid = 12, 20
    assert torch.equal(image_rings(grid, grid, 8), radial_bins(*grid, 8, "frequency").rings)
    larger = image_rings((48, 80), grid, 8)
    assert torch.equal(larger[:12, :20], radial_bins(*grid, 8, "frequency").rings)
    frequency = torch.hypot(torch.arange(48)[:, None] / 24, torch.arange(80) / 40)
    assert torch.equal(larger == 8, frequency > math.hypot(11 / 24, 19 / 40) + 1e-6)
    assert ring_edges(grid, 8)[-1] == pytest.approx(math.hypot(11 / 24, 19 / 40))


def test_band_transfer_of_nearest_upsampling_by_hand(transferred):
    # A held wave k of n cells has cos²(πk/4n) of its power at k, the rest mirrored at 2n − k. On a 4 × 4 grid, rings
    # 0, 1, 2 and 7 hold one wave each (or two transposed ones): (0, 0), (0, 1), (1, 1), (3, 3).
    found, _ = transferred(nearest, noise(2, 3, 4, 4))
    kept = [math.cos(math.pi * k / 16) ** 2 for k in range(4)]
    for ring, share in ((0, 1.0), (1, kept[1]), (2, kept[1] ** 2), (7, kept[3] ** 2)):
        assert found.shares[ring, ring] == pytest.approx(share, abs=1e-5)
        assert found.shares[ring, 8] == pytest.approx(1 - share, abs=1e-5)
    torch.testing.assert_close(found.gains, torch.ones(8).double(), atol=1e-4, rtol=0)


def test_band_transfer_of_pixel_shuffle_scatters(transferred):
    # A constant field of four independent signs: the mean of the signs stays at DC, with a quarter of the power.
    found, rows = transferred(lambda latents: pixel_shuffle(latents, 4), torch.zeros(64, 48, 4, 4))
    assert rows[:, 0, 0].mean() == pytest.approx(1 / 16, abs=0.01)
    assert found.diagonal_share < 0.1
    assert found.shares[:, -1].min() > 0.8


def test_band_transfer_of_blur_is_diagonal_with_falling_gains(transferred):
    found, _ = transferred(lambda latents: gaussian_blur(latents, 0.5), noise(2, 3, 32, 32))
    assert found.diagonal_share == pytest.approx(1, abs=1e-4)
    assert (found.gains.diff() < 0).all()
    # At the corner itself taps e⁻², 1, e⁻² leave ((1 − 2e⁻²) / (1 + 2e⁻²))⁴ = 0.109 of the power.
    assert found.gains[0] > 0.9
    assert 0.109 < found.gains[-1] < 0.15


def test_band_transfer_of_noise_decoder_is_even(transferred):
    generator = torch.Generator().manual_seed(1)
    found, _ = transferred(lambda z: torch.randn(len(z), 3, 64, 64, generator=generator), torch.zeros(16, 4, 16, 16))
    torch.testing.assert_close(found.shares, found.white.expand(8, 9), atol=0.01, rtol=0)
    assert found.white.sum() == pytest.approx(1)


def test_band_transfer_of_constant_decoder_is_zero(transferred):
    found, _ = transferred(lambda z: torch.zeros(len(z), 3, 32, 32), noise(2, 4, 8, 8))
    assert found.shares.abs().max() == found.gains.max() == found.diagonal_share == 0


def test_band_transfer_gains_are_in_channel_deviations(transferred):
    stds = torch.tensor([0.1, 1.0, 10.0])
    latents = noise(2, 3, 16, 16)
    reference, _ = transferred(lambda latents: latents, latents)
    found, _ = transferred(lambda z: z / stds.view(-1, 1, 1), latents * stds.view(-1, 1, 1), stds)
    torch.testing.assert_close(found.gains, reference.gains, rtol=1e-3, atol=0)


def test_band_response_disturbs_one_ring_at_strength(decoder_batch):
    seen = []

    def decode(latents):
        seen.append(latents)
        return latents

    latents, stds = torch.zeros(2, 3, 16, 16), torch.tensor([1.0, 2.0, 3.0])
    batch = decoder_batch(decode, latents, stds)
    seen.clear()
    band_response(batch)
    rings = radial_bins(16, 16, 8, "frequency").rings
    for ring, field in enumerate(seen):
        torch.testing.assert_close(field.square().mean((-2, -1)).sqrt(), 0.1 * stds.expand(2, 3))
        assert dct2(field)[..., rings != ring].abs().max() < 1e-5


def test_band_response_ignores_batches(decoder_batch):
    latents = noise(3, 3, 8, 8)
    rows = band_response(decoder_batch(nearest, latents, first=5, seed=1))
    alone = [band_response(decoder_batch(nearest, z, first=5 + i, seed=1)) for i, z in enumerate(latents.split(1))]
    torch.testing.assert_close(rows, torch.cat(alone), rtol=1e-4, atol=1e-9)
    assert len(rows[:, 0, 0].unique()) == 3


@pytest.mark.parametrize(("grid", "n"), [((32, 32), 8), ((4, 4), 8), ((3, 3), 5), ((1, 1), 1)])
def test_filled_rings_leave_no_ring_empty(grid, n):
    assert filled_rings(grid) == n
