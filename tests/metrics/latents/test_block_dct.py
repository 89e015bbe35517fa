import pytest
import torch

from spectrum_matching.metrics.latents.block_dct import block_amplitudes, block_profile, high_share
from spectrum_matching.spectrum import gaussian_blur


def profile(x):
    return block_profile(block_amplitudes(x).sum(0))


def test_white_noise_has_a_flat_profile(generator):
    found = profile(torch.randn(60, 4, 32, 32, generator=generator, dtype=torch.float64))
    assert found.shape == (64,)
    torch.testing.assert_close(found, torch.ones(64, dtype=torch.float64), rtol=0.05, atol=0)


def test_each_basis_image_stands_at_its_place_in_the_zigzag():
    u, v = torch.arange(8).double()[:, None], torch.arange(8).double()
    for place, index in (((0, 1), 1), ((1, 0), 2), ((2, 0), 3), ((7, 7), 63)):
        wave = [torch.cos(torch.pi / 8 * k * (n + 0.5)) for k, n in zip(place, (u, v), strict=True)]
        amplitudes = block_amplitudes((wave[0] * wave[1])[None, None])[0, 0]
        assert int(amplitudes.argmax()) == index
        assert float(amplitudes.sort().values[-2]) < 1e-12


def test_an_offset_hides_in_dc_and_a_blur_lowers_the_upper_half(generator):
    x = torch.randn(8, 4, 32, 32, generator=generator, dtype=torch.float64)
    assert high_share(profile(x + 5)) < 0.1 * high_share(profile(x))
    assert high_share(profile(gaussian_blur(x, 1.0))) < 0.2 * high_share(profile(x))


def test_the_scale_of_a_channel_changes_nothing(generator):
    x = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(profile(x * torch.tensor([0.1, 1, 30]).view(-1, 1, 1)), profile(x))


def test_only_whole_blocks_count(generator):
    x = torch.randn(2, 3, 19, 24, generator=generator)
    torch.testing.assert_close(block_amplitudes(x), block_amplitudes(x[..., :16, :]))
    with pytest.raises(ValueError, match="a 7 x 32 grid has no block of 8 x 8 cells"):
        block_amplitudes(torch.ones(1, 1, 7, 32))
