import pytest
import torch

from spectrum_matching.metrics.latents.block_dct import block_amplitudes, block_profile, high_share, zigzag_order
from spectrum_matching.spectrum import gaussian_blur


def profile(x):
    return block_profile(block_amplitudes(x).sum(0))


def test_block_profile_of_white_noise_is_flat(generator):
    found = profile(torch.randn(60, 4, 32, 32, generator=generator, dtype=torch.float64))
    assert found.shape == (64,)
    torch.testing.assert_close(found, torch.ones(64, dtype=torch.float64), rtol=0.05, atol=0)


def test_block_amplitudes_are_in_zigzag_order():
    u, v = torch.arange(8).double()[:, None], torch.arange(8).double()
    for uv, index in (((0, 1), 1), ((1, 0), 2), ((2, 0), 3), ((7, 7), 63)):
        wave = [torch.cos(torch.pi / 8 * k * (n + 0.5)) for k, n in zip(uv, (u, v), strict=True)]
        amplitudes = block_amplitudes((wave[0] * wave[1])[None, None])[0, 0]
        assert int(amplitudes.argmax()) == index
        assert float(amplitudes.sort().values[-2]) < 1e-12


def test_high_share_falls_with_offset_and_blur(generator):
    x = torch.randn(8, 4, 32, 32, generator=generator, dtype=torch.float64)
    assert high_share(profile(x + 5)) < 0.1 * high_share(profile(x))
    assert high_share(profile(gaussian_blur(x, 1.0))) < 0.2 * high_share(profile(x))


def test_block_profile_ignores_scale_of_channels(generator):
    x = torch.randn(4, 3, 16, 16, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(profile(x * torch.tensor([0.1, 1, 30]).view(-1, 1, 1)), profile(x))


def test_block_amplitudes_count_whole_blocks(generator):
    x = torch.randn(2, 3, 19, 24, generator=generator)
    torch.testing.assert_close(block_amplitudes(x), block_amplitudes(x[..., :16, :]))
    with pytest.raises(ValueError, match="a 7 x 32 grid has no block of 8 x 8 positions"):
        block_amplitudes(torch.ones(1, 1, 7, 32))


def test_zigzag_order_is_that_of_jpeg():
    assert zigzag_order(8, 8)[:10].tolist() == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert sorted(zigzag_order(3, 5).tolist()) == list(range(15))
