import pytest
import torch

from spectrum_matching.metrics.latents import neighbours as module
from spectrum_matching.metrics.latents.neighbours import (
    chance_level,
    gsq,
    label_refusal,
    nearest,
    neighbour_accuracy,
    neighbour_consistency,
    pool,
    vote,
)


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
    assert label_refusal(torch.zeros(5)) == "at least 2 classes are needed, got 1"
    features = torch.randn(5, 2, generator=generator)
    with pytest.raises(ValueError, match="2 of 3 classes have fewer than 2 images"):
        neighbour_consistency(features, torch.tensor([0, 0, 0, 1, 2]))
    labels = torch.tensor([0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"k must lie in 1 \.\.\. 4 for 5 images, got 5"):
        neighbour_consistency(features, labels, 5)
    with pytest.raises(ValueError, match="similarity must be 'cosine' or 'l2', got 'dot'"):
        neighbour_consistency(features, labels, 1, "dot")


def test_nearest_orders_others_by_distance():
    features = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    assert nearest(features, 3, "l2").tolist() == [[1, 2, 3], [0, 2, 3], [3, 1, 0], [2, 1, 0]]


@pytest.mark.parametrize(
    ("labels", "winner"),
    [
        ([1, 2, 2, 3, 3], 2),  # two each: the nearer pair
        ([3, 2, 2, 3, 1], 3),
        ([3, 1, 2, 2, 3], 3),
        ([1, 2, 3, 4, 5], 1),
        ([1, 1, 2, 2, 2], 2),  # three outvote two that are nearer
    ],
)
def test_vote_is_the_majority_and_ties_go_to_the_nearest(labels, winner):
    assert vote(torch.tensor([labels, [7] * 5])).tolist() == [winner, 7]


def test_neighbour_accuracy_finds_separated_classes(generator):
    found = neighbour_accuracy(*clusters(1e-3, generator))
    assert (float(found), found.standard_error) == (1, 0)
    assert found.white == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("rare", [2, 5])
def test_neighbour_accuracy_of_noise_is_its_chance_level(rare, generator):
    """One in `rare` images is of the first class, and both classes count alike."""
    labels = (torch.arange(2000) % rare > 0).long()
    found = neighbour_accuracy(torch.randn(2000, 4, generator=generator), labels)
    assert float(found) == pytest.approx(found.white, abs=3 * found.standard_error)
    assert found.white == pytest.approx(0.5, abs=0.01)


def test_neighbour_accuracy_leaves_the_image_itself_out():
    features, labels = torch.arange(12.0)[:, None], torch.arange(12) % 2
    # Of the five nearest, three or more are of the other class everywhere but at the ends.
    assert float(neighbour_accuracy(features, labels)) < 0.5
