import pytest
import torch
from torch import nn
from torchmetrics.image.inception import InceptionScore as Oracle

from spectrum_matching.metrics.images.inception_score import InceptionSums


def scored(logits, split=5000, batch=7):
    sums = InceptionSums(split)
    for start in range(0, len(logits), batch):
        part = logits[start : start + batch]
        sums.add(part, torch.arange(start, start + len(part)))
    return sums.score()


def test_torchmetrics_gives_the_same_over_all_images():
    logits = 3 * torch.randn(60, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = Oracle(feature=nn.Identity(), splits=1)
    oracle.update(logits)
    assert scored(logits).value == pytest.approx(float(oracle.compute()[0]), rel=1e-6)


def test_sure_and_even_classes_score_their_number_and_one_class_scores_one():
    sure = 100 * torch.eye(8).repeat(5, 1)
    assert scored(sure).value == pytest.approx(8)
    assert scored(sure[:1].repeat(9, 1)).value == pytest.approx(1)
    assert scored(torch.zeros(9, 8)).value == pytest.approx(1)


def test_splits_are_of_consecutive_images_and_a_small_rest_is_left_out():
    logits = torch.randn(53, 6, generator=torch.Generator().manual_seed(0))
    parts = [scored(part).value for part in (logits[:20], logits[20:40], logits[40:])]
    found = scored(logits, split=20)
    assert found.n_splits == 3
    assert found.value == pytest.approx(sum(parts) / 3)
    assert found.deviation == pytest.approx(float(torch.tensor(parts).std()), rel=1e-5)
    assert scored(logits[:49], split=20).n_splits == 2


def test_halves_merged_in_any_order_are_the_whole():
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    halves = [InceptionSums(20), InceptionSums(20)]
    for rank, half in enumerate(halves):
        half.add(logits[rank::2], torch.arange(50)[rank::2])
    assert halves[1].merge(halves[0]).score() == pytest.approx(scored(logits, split=20), rel=1e-12)


def test_nothing_is_no_score():
    with pytest.raises(ValueError, match="no logits"):
        InceptionSums().score()
