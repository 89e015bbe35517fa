import pytest
import torch
from torch import nn
from torchmetrics.image.inception import InceptionScore as Oracle

from spectrum_matching.metrics.images.inception_score import (
    INCEPTION_SCORE,
    MIN_SPLITS,
    inception_score,
    inception_sums,
)
from spectrum_matching.metrics.images.score import SetComparison
from spectrum_matching.metrics.images.statistics import ImageStatistics


def add(sums, more):
    """Sums by split of two sets of images."""
    return {split: sums.get(split, 0) + more.get(split, 0) for split in sums | more}


def scored(logits, split=5000, batch=7):
    sums = {}
    for start in range(0, len(logits), batch):
        part = logits[start : start + batch]
        sums = add(sums, inception_sums(part, torch.arange(start, start + len(part)), split))
    return inception_score(sums)


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


def test_inception_score_splits_consecutive_images():
    logits = torch.randn(53, 6, generator=torch.Generator().manual_seed(0))
    parts = [scored(part).value for part in (logits[:20], logits[20:40], logits[40:])]
    found = scored(logits, split=20)
    assert found.n_splits == 3
    assert found.value == pytest.approx(sum(parts) / 3)
    assert found.deviation == pytest.approx(float(torch.tensor(parts).std()), rel=1e-5)
    assert scored(logits[:49], split=20).n_splits == 2


def test_inception_sums_of_halves_add_to_the_whole():
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    halves = [inception_sums(logits[rank::2], torch.arange(50)[rank::2], 20) for rank in (0, 1)]
    assert inception_score(add(halves[1], halves[0])) == pytest.approx(scored(logits, split=20), rel=1e-12)


def test_inception_score_refuses_no_images():
    with pytest.raises(ValueError, match="no logits"):
        inception_score({})


@pytest.mark.parametrize("n_splits", [MIN_SPLITS - 1, MIN_SPLITS])
def test_inception_score_has_error_from_five_splits(n_splits):
    logits = torch.randn(10 * n_splits, 6, generator=torch.Generator().manual_seed(0))
    sums = inception_sums(logits, torch.arange(len(logits)), 10)
    images = ImageStatistics(sums={f"classes.{split}": total for split, total in sums.items()})
    (result,) = INCEPTION_SCORE.compare(SetComparison(images, ImageStatistics())).values()
    values = torch.stack([torch.tensor(scored(part).value) for part in logits.split(10)])
    assert result.value == pytest.approx(float(values.mean()), rel=1e-6)
    if n_splits < MIN_SPLITS:
        assert result.standard_error is None
    else:
        assert result.standard_error == pytest.approx(float(values.std()) / n_splits**0.5, rel=1e-4)
    assert MIN_SPLITS == 5  # as docs/evaluate.md says
