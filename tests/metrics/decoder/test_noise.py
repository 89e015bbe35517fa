import json
import math
from pathlib import Path

import pytest
import torch

from spectrum_matching.metrics.decoder.noise import (
    CONSISTENCY_SCALES,
    STRENGTHS,
    consistency_weights,
    latent_consistency,
    noise_response,
)

ORACLES = json.loads((Path(__file__).parents[2] / "oracles" / "metric_values.json").read_text())["oracles"]


def identity(latents):
    return latents


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_response_of_identity_decoder_by_hand(strength, decoder_batch):
    latents, std = torch.zeros(4, 3, 64, 64), 0.2
    psnr, sensitivity = noise_response(decoder_batch(identity, latents, torch.full((3,), std)), strength)
    # With 12,288 values to an image the power of its noise has a standard error of 1.3 %.
    expected = 20 * math.log10(2) - 20 * math.log10(strength * std)
    assert psnr.tolist() == pytest.approx([expected] * 4, abs=0.2)
    assert sensitivity.tolist() == pytest.approx([std**2] * 4, rel=0.05)


def test_noise_response_of_linear_decoder_is_jacobian_trace(decoder_batch):
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    stds = torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])

    def decode(latents):
        return torch.einsum("ij,bjhw->bihw", matrix, latents)

    latents = torch.zeros(8, 5, 64, 64)
    trace = (matrix.square() * stds.square()).sum() / 3
    for strength in STRENGTHS:
        _, sensitivity = noise_response(decoder_batch(decode, latents, stds), strength)
        assert float(sensitivity.mean()) == pytest.approx(float(trace), rel=0.02)


def test_noise_response_of_constant_decoder_is_none(decoder_batch):
    latents, grey = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    psnr, sensitivity = noise_response(decoder_batch(lambda z: grey, latents), 0.8)
    assert psnr.tolist() == [100, 100]
    assert sensitivity.tolist() == [0, 0]


def test_noise_response_ignores_batches(decoder_batch):
    latents = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    _, whole = noise_response(decoder_batch(identity, latents, first=3, seed=7), 0.1)
    alone = [
        noise_response(decoder_batch(identity, z, first=3 + i, seed=7), 0.1)[1] for i, z in enumerate(latents.split(1))
    ]
    torch.testing.assert_close(whole, torch.cat(alone))
    assert len(set(whole.tolist())) == 5


def mse(a, b):
    return (a - b).square().mean((1, 2, 3))


def test_latent_consistency_of_constant_decoder_is_zero(decoder_batch):
    latents, grey = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    assert latent_consistency(decoder_batch(lambda z: grey, latents), mse).tolist() == [0, 0]


def test_consistency_weights_are_those_recorded():
    (entry,) = (entry for entry in ORACLES if entry["metric"] == "LPC scale weights")
    assert consistency_weights().tolist() == pytest.approx(entry["value"], rel=1e-9)


def test_latent_consistency_of_identity_decoder_by_hand(decoder_batch):
    latents = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    power = latents.square().mean((1, 2, 3))
    expected = sum(w * (s**2) * power for w, s in zip(consistency_weights().tolist(), CONSISTENCY_SCALES, strict=True))
    torch.testing.assert_close(latent_consistency(decoder_batch(identity, latents), mse), expected)
