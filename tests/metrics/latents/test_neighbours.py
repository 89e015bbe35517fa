import pytest
import torch

from spectrum_matching.metrics.latents import neighbours as module
from spectrum_matching.metrics.latents.neighbours import chance_level, gsq, label_refusal, neighbour_consistency, pool


def clusters(spread, generator, n=60, n_classes=3, c=8):
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, c, generator=generator)
    return centres[labels] + spread * torch.randn(n, c, generator=generator), labels


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
@pytest.mark.parametrize("centre", [True, False])
def test_neighbour_consistency_of_separated_classes_is_one(similarity, centre, generator):
    features, labels = clusters(1e-3, generator)
    assert (neighbour_consistency(features, labels, 19, similarity, centre) == 1).all()
    assert (gsq(features, labels) == 1).all()


def test_chance_level_is_that_of_random_labels(generator):
    features = torch.randn(600, 6, generator=generator)
    labels = torch.cat([torch.zeros(300), torch.arange(1, 4).repeat(100)]).long()
    expected = (300 * 299 + 3 * 100 * 99) / (600 * 599)
    assert chance_level(labels) == pytest.approx(expected)
    assert float(neighbour_consistency(features, labels, 10).mean()) == pytest.approx(expected, abs=0.03)


def test_neighbour_consistency_ignores_batches(generator, monkeypatch):
    features, labels = clusters(2.0, generator)
    whole = neighbour_consistency(features, labels, 5, "l2")
    monkeypatch.setattr(module, "BATCH_SIZE", 7)
    assert torch.equal(neighbour_consistency(features, labels, 5, "l2"), whole)


def test_neighbour_consistency_centres_features(generator):
    features, labels = clusters(0.3, generator)
    shifted = features + 100
    assert torch.equal(neighbour_consistency(shifted.double(), labels, 5), neighbour_consistency(features, labels, 5))


def test_pool_takes_foreground_or_everything():
    x = torch.arange(16.0).view(1, 1, 4, 4).repeat(2, 3, 1, 1)
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 0, :2] = True
    assert pool(x, masks).tolist() == [[0.5] * 3, [7.5] * 3]
    assert pool(x).tolist() == [[7.5] * 3] * 2


def test_label_refusal_and_bad_arguments(generator):
    assert label_refusal(torch.tensor([0, 0, 1, 1])) == ""
    assert "at least 2 classes, got 1" in label_refusal(torch.zeros(5))
    features = torch.randn(5, 2, generator=generator)
    with pytest.raises(ValueError, match="2 of 3 classes have one image"):
        neighbour_consistency(features, torch.tensor([0, 0, 0, 1, 2]))
    labels = torch.tensor([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"k must lie in 1 \.\.\. 4 for 5 images, got 5"):
        neighbour_consistency(features, labels, 5)
    with pytest.raises(ValueError, match="similarity must be 'cosine' or 'l2', got 'dot'"):
        neighbour_consistency(features, labels, 1, "dot")
