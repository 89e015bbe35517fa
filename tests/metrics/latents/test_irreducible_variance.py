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


def test_a_separable_covariance_gives_the_value_by_hand():
    """(π/2) · mean of √(4, 1, ¼, ¼) · mean of √(9, 4, 1, 1), whatever the axes."""
    channels = rotation(4, 1) * torch.tensor([4, 1, 0.25, 0.25]).double().sqrt()
    cells = rotation(4, 2) * torch.tensor([9, 4, 1, 1]).double().sqrt()
    x = channels @ noise(4000).flatten(2) @ cells.mT
    found = measured(x.unflatten(2, (2, 2)) + 5)
    assert found.mean == pytest.approx(math.pi / 2 * 1.75, abs=4 * found.standard_error)
    assert found.standard_error < 0.02
    assert found.per_dimension == pytest.approx(found.mean)
    assert found.total == pytest.approx(found.mean * 16)


def test_identical_images_have_none_and_neither_do_classes_of_identical_images():
    x = noise(3)[torch.arange(60) % 3]
    assert measured(x, torch.arange(60) % 3).mean < 1e-6
    assert measured(x[::3]).mean < 1e-6
    assert measured(x).mean > 0.1


def test_cutting_into_batches_and_their_order_change_nothing():
    x, labels = noise(90, shape=(3, 3, 3)), torch.arange(90) % 2
    whole, cut = measured(x, labels, 90), measured(x, labels, 7)
    assert cut[:5] == pytest.approx(whole[:5], rel=1e-9)
    assert measured(x.flip(0), labels.flip(0), 7)[:4] == pytest.approx(whole[:4], rel=1e-9)


def test_classes_count_alike_and_images_without_one_not_at_all():
    x = torch.cat([noise(200), 3 * noise(100, 1), 100 * noise(30, 2)])
    labels = torch.tensor([4] * 200 + [9] * 100 + [-1] * 30)
    alone = [measured(x[labels == k]).mean for k in (4, 9)]
    assert measured(x, labels).mean == pytest.approx(sum(alone) / 2, rel=1e-9)
    with pytest.raises(ValueError, match="no image has a class"):
        measured(x, torch.full((330,), -1))


def test_classes_that_do_not_fit_at_once_are_taken_in_turns(monkeypatch):
    x, labels = noise(120), torch.arange(120) % 3
    together = measured(x, labels)
    monkeypatch.setattr(sys.modules[irreducible_variance.__module__], "AT_ONCE", 1)
    in_turns = measured(x, labels)
    assert in_turns[:5] == pytest.approx(together[:5], rel=1e-12)
    assert (together.n_passes, in_turns.n_passes) == (13, 37)


@pytest.mark.parametrize(("n", "shape"), [(60, (4, 4, 4)), (100, (8, 8, 8)), (400, (2, 3, 5))])
def test_white_noise_gives_what_its_rank_leaves_of_half_pi(n, shape):
    expected = white_irreducible_variance(n, shape[0], shape[1:])
    found = []
    for seed in range(4):
        x = noise(n, seed, shape)
        found.append(measured(x / x.square().mean().sqrt()).mean)
    assert statistics.mean(found) == pytest.approx(expected, rel=0.003)
    assert 0.9 * math.pi / 2 < expected < math.pi / 2


def test_the_standard_error_is_the_spread_over_other_images():
    x = noise(80 * 40, 3, (4, 3, 3)).flatten(2) * torch.linspace(0.2, 2, 9)
    found = [measured(part.unflatten(2, (3, 3))) for part in x.split(80)]
    spread = statistics.stdev(f.mean for f in found)
    assert statistics.mean(f.standard_error for f in found) == pytest.approx(spread, rel=0.35)


def test_too_few_rows_are_refused_with_the_number_that_would_do():
    assert rank_refusal(50, 32, (16, 16)) == rank_refusal(96, 32, (32, 32)) == ""
    assert "50 images x 4 channels are too few for 1024 cells" in rank_refusal(50, 4, (32, 32))
    assert "biased below 768 images" in rank_refusal(50, 4, (32, 32))
    assert "biased below 50 images" in rank_refusal(49, 32, (4, 4))


def test_what_is_refused_is_biased_indeed():
    """Four channels of white noise on 16 × 16 cells: far too high for a handful of images."""
    assert rank_refusal(10, 4, (16, 16))
    assert measured(noise(10, 0, (4, 16, 16))).mean > 1.5 * math.pi / 2
