import json
from pathlib import Path

import pytest
import torch

from spectrum_matching.metrics.decoder.consistency import CONSISTENCY_SCALES, consistency_weights, latent_consistency

ORACLES = json.loads((Path(__file__).parents[2] / "oracles" / "metric_values.json").read_text())["oracles"]


def mse(a, b):
    return (a - b).square().mean((1, 2, 3))


def test_latent_consistency_of_constant_decoder_is_zero():
    latents, grey = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 32, 32)
    assert latent_consistency(lambda z: grey, latents, grey, mse, first=0, seed=0).tolist() == [0, 0]


def test_consistency_weights_are_those_recorded():
    (entry,) = (entry for entry in ORACLES if entry["metric"] == "LPC scale weights")
    assert consistency_weights().tolist() == pytest.approx(entry["value"], rel=1e-9)


def test_latent_consistency_of_identity_decoder_by_hand():
    latents = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    power = latents.square().mean((1, 2, 3))
    expected = sum(w * (s**2) * power for w, s in zip(consistency_weights().tolist(), CONSISTENCY_SCALES, strict=True))
    torch.testing.assert_close(latent_consistency(lambda z: z, latents, latents, mse, first=0, seed=0), expected)
