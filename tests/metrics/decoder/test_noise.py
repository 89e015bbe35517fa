import math

import pytest
import torch

from spectrum_matching.metrics.decoder.noise import STRENGTHS, noise_response


def identity(latents):
    return latents


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_response_of_identity_decoder_by_hand(strength):
    latents, std = torch.zeros(4, 3, 64, 64), 0.2
    response = noise_response(identity, latents, latents, torch.full((3,), std), strength, first=0, seed=0)
    # With 12,288 values to an image the power of its noise has a standard error of 1.3 %.
    expected = 20 * math.log10(2) - 20 * math.log10(strength * std)
    assert response.psnr.tolist() == pytest.approx([expected] * 4, abs=0.2)
    assert response.sensitivity.tolist() == pytest.approx([std**2] * 4, rel=0.05)


def test_noise_response_of_linear_decoder_is_jacobian_trace():
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    stds = torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])

    def decode(latents):
        return torch.einsum("ij,bjhw->bihw", matrix, latents)

    latents = torch.zeros(8, 5, 64, 64)
    trace = (matrix.square() * stds.square()).sum() / 3
    for strength in STRENGTHS:
        response = noise_response(decode, latents, decode(latents), stds, strength, first=0, seed=0)
        assert float(response.sensitivity.mean()) == pytest.approx(float(trace), rel=0.02)


def test_noise_response_of_constant_decoder_is_none():
    latents, grey = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    response = noise_response(lambda z: grey, latents, grey, torch.ones(4), 0.8, first=0, seed=0)
    assert response.psnr.tolist() == [100, 100]
    assert response.sensitivity.tolist() == [0, 0]


def test_noise_response_ignores_batches():
    latents = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = noise_response(identity, latents, latents, torch.ones(3), 0.1, first=3, seed=7)
    alone = [
        noise_response(identity, z, z, torch.ones(3), 0.1, first=3 + i, seed=7).sensitivity
        for i, z in enumerate(latents.split(1))
    ]
    torch.testing.assert_close(whole.sensitivity, torch.cat(alone))
    assert len(set(whole.sensitivity.tolist())) == 5
