import math
import statistics
import sys

import pytest
import torch

from spectrum_matching.metrics.latents.irreducible_variance import (
    irreducible_variance,
    rank_refusal,
    white_irreducible_variance,
)


def noise(n, seed=0, shape=(4, 2, 2)):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(x, labels=None, batch_size=64):
    labels = torch.zeros(len(x), dtype=torch.long) if labels is None else labels
    return irreducible_variance(lambda: zip(x.split(batch_size), labels.split(batch_size), strict=True))


def rotation(n, seed):
    return torch.linalg.qr(noise(n, seed, (n,))).Q


def test_irreducible_variance_of_separable_covariance_by_hand():
    """(π/2) · mean of √(4, 1, ¼, ¼) · mean of √(9, 4, 1, 1), whatever the axes."""
    channels = rotation(4, 1) * torch.tensor([4, 1, 0.25, 0.25]).double().sqrt()
    positions = rotation(4, 2) * torch.tensor([9, 4, 1, 1]).double().sqrt()
    x = channels @ noise(4000).flatten(2) @ positions.mT
    found = measured(x.unflatten(2, (2, 2)) + 5)
    assert found.mean == pytest.approx(math.pi / 2 * 1.75, abs=4 * found.standard_error)
    assert found.standard_error < 0.02
    assert found.per_dimension == pytest.approx(found.mean)


def test_irreducible_variance_of_identical_images_is_zero():
    x = noise(3)[torch.arange(60) % 3]
    assert measured(x, torch.arange(60) % 3).mean < 1e-6
    assert measured(x[::3]).mean < 1e-6
    assert measured(x).mean > 0.1


def test_irreducible_variance_ignores_batches_and_order():
    x, labels = noise(90, shape=(3, 3, 3)), torch.arange(90) % 2
    whole, cut = measured(x, labels, 90), measured(x, labels, 7)
    assert cut == pytest.approx(whole, rel=1e-9)
    assert measured(x.flip(0), labels.flip(0), 7)[:3] == pytest.approx(whole[:3], rel=1e-9)


def test_irreducible_variance_weighs_classes_equally():
    x = torch.cat([noise(200), 3 * noise(100, 1), 100 * noise(30, 2)])
    labels = torch.tensor([4] * 200 + [9] * 100 + [-1] * 30)
    alone = [measured(x[labels == k]).mean for k in (4, 9)]
    assert measured(x, labels).mean == pytest.approx(sum(alone) / 2, rel=1e-9)
    with pytest.raises(ValueError, match="no image has a class"):
        measured(x, torch.full((330,), -1))


def test_irreducible_variance_fits_classes_in_turns(monkeypatch):
    x, labels, passes = noise(120), torch.arange(120) % 3, []

    def batches():
        passes.append(1)
        return zip(x.split(64), labels.split(64), strict=True)

    together = irreducible_variance(batches)
    assert len(passes) == 13
    monkeypatch.setattr(sys.modules[irreducible_variance.__module__], "MAX_NUMBERS", 1)
    assert irreducible_variance(batches) == pytest.approx(together, rel=1e-12)
    assert len(passes) == 13 + 37


@pytest.mark.parametrize(("n", "shape"), [(60, (4, 4, 4)), (100, (8, 8, 8)), (400, (2, 3, 5))])
def test_white_irreducible_variance_is_that_of_white_noise(n, shape):
    expected = white_irreducible_variance(n, shape[0], shape[1:])
    found = []
    for seed in range(4):
        x = noise(n, seed, shape)
        found.append(measured(x / x.square().mean().sqrt()).mean)
    assert statistics.mean(found) == pytest.approx(expected, rel=0.003)
    assert 0.9 * math.pi / 2 < expected < math.pi / 2


def test_irreducible_variance_standard_error_is_spread_over_images():
    x = noise(80 * 40, 3, (4, 3, 3)).flatten(2) * torch.linspace(0.2, 2, 9)
    found = [measured(part.unflatten(2, (3, 3))) for part in x.split(80)]
    spread = statistics.stdev(f.mean for f in found)
    assert statistics.mean(f.standard_error for f in found) == pytest.approx(spread, rel=0.35)


def test_rank_refusal_names_images_needed():
    assert rank_refusal(50, 32, (16, 16)) == rank_refusal(96, 32, (32, 32)) == ""
    assert "50 images x 4 channels are too few for 1024 positions" in rank_refusal(50, 4, (32, 32))
    assert "biased below 768 images" in rank_refusal(50, 4, (32, 32))
    assert "biased below 50 images" in rank_refusal(49, 32, (4, 4))


def test_rank_refusal_is_right_about_bias():
    """Four channels of white noise on 16 × 16 positions: far too high for a handful of images."""
    assert rank_refusal(10, 4, (16, 16))
    assert measured(noise(10, 0, (4, 16, 16))).mean > 1.5 * math.pi / 2
