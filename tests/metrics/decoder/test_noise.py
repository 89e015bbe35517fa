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
    placed_noise,
)

ORACLES = json.loads((Path(__file__).parents[2] / "oracles" / "metric_values.json").read_text())["oracles"]


def identity(latents):
    return latents


def mse(a, b):
    return (a - b).square().mean((1, 2, 3))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_an_identity_decoder_passes_the_noise_on_as_it_is(strength):
    latents, std = torch.zeros(4, 3, 64, 64), 0.2
    response = noise_response(identity, latents, latents, torch.full((3,), std), strength, first=0, seed=0)
    # With 12,288 values to an image the power of its noise has a standard error of 1.3 %.
    expected = 20 * math.log10(2) - 20 * math.log10(strength * std)
    assert response.psnr.tolist() == pytest.approx([expected] * 4, abs=0.2)
    assert response.sensitivity.tolist() == pytest.approx([std**2] * 4, rel=0.05)


def test_a_linear_decoder_has_the_trace_of_its_jacobian_as_sensitivity_at_any_strength():
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    stds = torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])

    def decode(latents):
        return torch.einsum("ij,bjhw->bihw", matrix, latents)

    latents = torch.zeros(8, 5, 64, 64)
    trace = (matrix.square() * stds.square()).sum() / 3
    for strength in STRENGTHS:
        response = noise_response(decode, latents, decode(latents), stds, strength, first=0, seed=0)
        assert float(response.sensitivity.mean()) == pytest.approx(float(trace), rel=0.02)


def test_a_constant_decoder_does_not_answer():
    latents, grey = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    response = noise_response(lambda z: grey, latents, grey, torch.ones(4), 0.8, first=0, seed=0)
    assert response.psnr.tolist() == [100, 100]
    assert response.sensitivity.tolist() == [0, 0]
    consistency = latent_consistency(lambda z: grey, latents, grey, mse, first=0, seed=0)
    assert consistency.tolist() == [0, 0]


def test_each_image_has_its_own_noise_whatever_its_batch():
    latents = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = noise_response(identity, latents, latents, torch.ones(3), 0.1, first=3, seed=7)
    alone = [
        noise_response(identity, z, z, torch.ones(3), 0.1, first=3 + i, seed=7).sensitivity
        for i, z in enumerate(latents.split(1))
    ]
    torch.testing.assert_close(whole.sensitivity, torch.cat(alone))
    assert len(set(whole.sensitivity.tolist())) == 5
    assert not torch.equal(placed_noise((1, 9), 0, "a", 0), placed_noise((1, 9), 0, "a", 1))


def test_consistency_weights_are_those_recorded():
    (entry,) = (entry for entry in ORACLES if entry["metric"] == "LPC scale weights")
    assert consistency_weights().tolist() == pytest.approx(entry["value"], rel=1e-9)


def test_an_identity_decoder_with_mean_squared_error_has_the_squared_step_as_consistency():
    latents = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    power = latents.square().mean((1, 2, 3))
    expected = sum(w * (s**2) * power for w, s in zip(consistency_weights().tolist(), CONSISTENCY_SCALES, strict=True))
    torch.testing.assert_close(latent_consistency(identity, latents, latents, mse, first=0, seed=0), expected)
