import pytest
import torch
from torch import nn
from torchmetrics.image.inception import InceptionScore as Oracle

from spectrum_matching.metrics.images.inception_score import (
    GROUPS,
    INCEPTION_SCORE,
    MIN_SPLITS,
    SPLIT,
    inception_score,
    inception_sums,
)
from spectrum_matching.metrics.images.score import SetComparison
from spectrum_matching.metrics.images.statistics import ImageStatistics
from spectrum_matching.seeding import spread_keys


def scored(logits, split=5000, batch=7):
    """The score of logits that come in batches."""
    starts = range(0, len(logits), batch)
    parts = (inception_sums(logits[k : k + batch], torch.arange(len(logits))[k : k + batch]) for k in starts)
    return inception_score(sum(parts), split)


def members(n, n_splits):
    """The images of each split."""
    groups = (spread_keys(torch.arange(n)) * GROUPS).long()
    return [(groups * n_splits // GROUPS == split).nonzero()[:, 0] for split in range(n_splits)]


def test_inception_score_equals_torchmetrics():
    logits = 3 * torch.randn(60, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = Oracle(feature=nn.Identity(), splits=1)
    oracle.update(logits)
    assert scored(logits).value == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_inception_score_of_certain_classes_is_their_number():
    sure = 100 * torch.eye(8).repeat(5, 1)
    assert scored(sure).value == pytest.approx(8)
    assert scored(sure[:1].repeat(9, 1)).value == pytest.approx(1)
    assert scored(torch.zeros(9, 8)).value == pytest.approx(1)


def test_inception_score_is_the_mean_over_equal_splits():
    logits = torch.randn(1680, 6, generator=torch.Generator().manual_seed(0))
    splits = members(len(logits), 3)
    assert all(abs(len(split) - 560) <= 3 for split in splits)
    parts = [scored(logits[split]).value for split in splits]
    found = scored(logits, split=500)
    assert found.n_splits == 3  # of 560; 4 would be of 420
    assert found.value == pytest.approx(sum(parts) / 3)
    assert found.deviation == pytest.approx(float(torch.tensor(parts).std()), rel=1e-5)


def test_inception_score_of_a_sorted_set_is_that_of_a_shuffled_one():
    """Eight classes one after the other: consecutive splits would see one or two of them each, and score 1 or 2."""
    n = 3360
    classes = 100 * torch.eye(8)[torch.arange(n) * 8 // n]
    shuffled = classes[torch.randperm(n, generator=torch.Generator().manual_seed(0))]
    found, expected = (scored(logits, split=n // 8, batch=500) for logits in (classes, shuffled))
    assert found.n_splits == expected.n_splits == 8
    assert found.value == pytest.approx(expected.value, rel=0.01)
    assert 7.9 < found.value <= 8
    taking_turns = 100 * torch.eye(8)[torch.arange(n) % 8]  # as samples of "balanced" labels do
    assert scored(taking_turns, split=n // 8, batch=500).value == pytest.approx(expected.value, rel=0.01)


def test_inception_sums_of_halves_add_to_the_whole():
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    halves = [inception_sums(logits[rank::2], torch.arange(50)[rank::2]) for rank in (0, 1)]
    assert inception_score(halves[1] + halves[0], 20) == pytest.approx(scored(logits, split=20), rel=1e-12)


def test_inception_score_refuses_no_images():
    with pytest.raises(ValueError, match="no logits"):
        inception_score(torch.zeros(GROUPS, 8))


@pytest.mark.parametrize("n_splits", [MIN_SPLITS - 1, MIN_SPLITS])
def test_inception_score_has_error_from_five_splits(n_splits):
    logits = torch.randn(SPLIT * n_splits, 3, generator=torch.Generator().manual_seed(0))
    sums = inception_sums(logits, torch.arange(len(logits)))
    images = ImageStatistics(sums={"classes": sums})
    (result,) = INCEPTION_SCORE.compare(SetComparison(images, ImageStatistics())).values()
    parts = (scored(logits[split], batch=SPLIT).value for split in members(len(logits), n_splits))
    values = torch.tensor(list(parts))
    assert result.value == pytest.approx(float(values.mean()), rel=1e-6)
    if n_splits < MIN_SPLITS:
        assert result.standard_error is None
    else:
        assert result.standard_error == pytest.approx(float(values.std()) / n_splits**0.5, rel=1e-3)
    assert (MIN_SPLITS, SPLIT) == (5, 5000)  # as docs/evaluate.md says
