import pytest
import torch

from spectrum_matching.metrics.images.precision_recall import precision_recall


def line(*points):
    return torch.tensor(points, dtype=torch.float64)[:, None]


def by_definition(a, b, k):
    """Precision of a against b, word for word, on coordinates that need no expansion of squares."""
    radii = [sorted(float((x - y).norm()) for y in b)[k] for x in b]  # the nearest is x itself
    inside = [any(float((x - y).norm()) <= radius for y, radius in zip(b, radii, strict=True)) for x in a]
    return sum(inside) / len(a)


def test_precision_recall_of_sets_by_hand():
    reference = line(0, 1, 2, 10, 11, 12)  # with k = 1 balls of radius 1: [-1, 3] and [9, 13]
    found = precision_recall(line(0.5, 1.5, 2.9, 3.2), reference, neighbours=1)
    # Of the images three lie within. Their own balls, of 1, 1, 0.3 and 0.3, reach from -0.5 to 3.5.
    assert found == (0.75, 0.5)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_equals_definition_far_from_zero(k):
    generator = torch.Generator().manual_seed(k)
    a = torch.randn(40, 3, generator=generator, dtype=torch.float64) * 0.8 + 1000
    b = torch.randn(30, 3, generator=generator, dtype=torch.float64) + 1000
    assert precision_recall(a, b, k) == (by_definition(a, b, k), by_definition(b, a, k))


def test_precision_recall_ignores_order_and_swaps_sides():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1100, 3, generator=generator, dtype=torch.float64)
    b = torch.randn(1200, 3, generator=generator, dtype=torch.float64) * 2
    radii = torch.cdist(b, b).kthvalue(4, dim=1).values
    expected = (torch.cdist(a, b) <= radii).any(1).double().mean()
    found = precision_recall(a, b)
    assert found[0] == pytest.approx(float(expected), abs=1e-12)
    assert precision_recall(a.flip(0), b.flip(0)) == found
    assert precision_recall(b, a) == found[::-1]


def test_precision_recall_of_a_collapsed_set():
    real = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    precision, recall = precision_recall(real[:1].repeat(50, 1), real)
    assert precision == 1
    assert recall <= 1 / 200


def test_precision_recall_refuses_too_few_and_other_sizes():
    with pytest.raises(ValueError, match="3 and 9 images: each side needs more than the 3 neighbours"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match="cannot be compared"):
        precision_recall(torch.zeros(9, 2), torch.zeros(9, 3))
