import math

import pytest
import torch

from latents_of_tests import MemoryLatents
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.generative import interpolation
from spectrum_matching.metrics.generative.interpolation import (
    INTERPOLATION,
    RAW,
    UNIT_INTERPOLATION,
    choose,
    find_neighbours,
    fit_interpolation,
    fit_unit_interpolation,
    halfway,
    rows_at_once,
)
from spectrum_matching.metrics.generative.model import Fitting
from spectrum_matching.seeding import fraction


def random_latents(n, seed, scale=1.0, shift=0.0, shape=(3, 4, 4)):
    return scale * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.fixture
def fitting():
    """Latents of a small scale, so that the draw takes any of the ten, with an offset and unequal channels."""
    channels = torch.tensor([0.3, 1.0, 2.0])[:, None, None]
    shift = torch.tensor([0.5, -1.0, 0.0])[:, None, None]
    reference, evaluated = (channels * random_latents(n, seed) + shift for n, seed in ((57, 0), (23, 1)))
    return Fitting(MemoryLatents(reference), MemoryLatents(evaluated), seed=3)


def restated(reference, evaluated, seed):
    """iFID's latents one at a time in float64, as its description has them."""
    results = []
    for i, z in enumerate(evaluated.double().flatten(1)):
        others = reference.double().flatten(1)
        cosines = torch.stack([z @ other / (z.norm() * other.norm()) for other in others])
        nearest = others[cosines.argsort(descending=True)[:10]]
        weights = torch.stack([(-((z - other) ** 2).mean()).exp() for other in nearest])
        draw = fraction("interpolation", seed, i) * weights.sum()
        other = next(other for other, end in zip(nearest, weights.cumsum(0), strict=True) if draw < end)
        angle = torch.arccos((z @ other) / (z.norm() * other.norm()))
        if angle.sin() < 1e-6:
            middle = (z + other) / 2
        else:
            middle = (angle / 2).sin() / angle.sin() * z + (angle / 2).sin() / angle.sin() * other
        results.append(middle)
    return torch.stack(results).view(-1, *evaluated.shape[1:])


def test_fit_interpolation_agrees_with_a_literal_restatement(fitting):
    expected = restated(fitting.reference.latents, fitting.evaluated.latents, seed=3)
    model = INTERPOLATION.fit(fitting)
    torch.testing.assert_close(model.sample(range(23)).double(), expected, rtol=1e-5, atol=1e-5)
    neighbours = find_neighbours(fitting)
    places = [row.tolist().index(one) for row, one in zip(neighbours.indices, model.chosen, strict=True)]
    assert len(set(places)) >= 4  # the draw does not always take the nearest


def test_fit_unit_interpolation_agrees_with_the_restatement_in_unit_scale(fitting):
    latents = fitting.reference.latents.double()
    mean, std = (f((0, 2, 3))[:, None, None] for f in (latents.mean, lambda dims: latents.std(dims, correction=0)))
    reference, evaluated = ((z.double() - mean) / std for z in (latents, fitting.evaluated.latents))
    expected = restated(reference, evaluated, seed=3) * std + mean
    sampled = UNIT_INTERPOLATION.fit(fitting).sample(range(23)).double()
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-5)
    assert (sampled - INTERPOLATION.fit(fitting).sample(range(23))).abs().max() > 0.1


@pytest.mark.parametrize(
    ("shape", "n"), [((8, 8, 8), 4096), ((4, 32, 32), 4096), ((128, 16, 16), 512), ((1, 4097, 4096), 1)]
)
def test_rows_at_once_are_fewer_of_large_latents(shape, n):
    assert rows_at_once(shape) == n


@pytest.mark.parametrize(("block", "queries"), [(1, 1), (7, 5), (57, 23), (1000, 1000)])
def test_find_neighbours_does_not_depend_on_block_sizes(fitting, block, queries):
    found, expected = find_neighbours(fitting, RAW, 10, block, queries), find_neighbours(fitting)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.cosines, expected.cosines)
    torch.testing.assert_close(found.squares, expected.squares)


def test_find_neighbours_refuses_a_reference_of_fewer(fitting):
    few = fitting._replace(reference=MemoryLatents(fitting.reference.latents[:9]))
    with pytest.raises(ValueError, match="9 reference latents are fewer than the 10 neighbours"):
        find_neighbours(few)
    found = find_neighbours(few, k=9, block=4)
    assert found.indices.sort(1).values.tolist() == [list(range(9))] * 23
    assert bool((found.cosines.diff(dim=1) <= 0).all())


def test_find_neighbours_reports_every_reference_latent(fitting):
    calls = []
    find_neighbours(fitting._replace(progress=lambda done, total: calls.append((done, total))), block=20)
    assert calls == [(20, 57), (40, 57), (57, 57)]


def test_choose_draws_with_the_softmax_of_the_mean_squared_difference():
    direction = random_latents(1, 0)[0]
    direction = direction / direction.square().mean().sqrt()
    # Three neighbours in one direction, at mean squared differences of 1, 2 and 3.
    reference = MemoryLatents(torch.stack([direction * (1 + math.sqrt(d)) for d in (1, 2, 3)]))
    evaluated = MemoryLatents(direction.expand(4000, -1, -1, -1))
    fitting = Fitting(reference, evaluated)
    chosen = torch.tensor(choose(find_neighbours(fitting, k=3), evaluated, RAW, seed=0))
    shares = torch.bincount(chosen, minlength=3) / 4000
    expected = torch.softmax(torch.tensor([-1.0, -2.0, -3.0]), 0)
    assert float((shares - expected).abs().max()) < 4 * math.sqrt(0.25 / 4000)


def test_fit_interpolation_in_a_large_scale_takes_the_nearest(fitting):
    large = Fitting(*(MemoryLatents(1000 * each.latents) for each in fitting[:2]), seed=3)
    model, neighbours = fit_interpolation(large), find_neighbours(large)
    distances = torch.cdist(large.evaluated.latents.flatten(1), large.reference.latents.flatten(1))
    nearest = neighbours.indices.gather(1, distances.gather(1, neighbours.indices).argmin(1)[:, None]).flatten()
    assert model.chosen == nearest.tolist()


def test_fit_unit_interpolation_does_not_depend_on_the_scale_of_channels(fitting):
    gain = torch.tensor([0.1, 7.0, 100.0])[:, None, None]
    scaled = Fitting(*(MemoryLatents(gain * each.latents - 3) for each in fitting[:2]), seed=3)
    here, there = (fit_unit_interpolation(each).sample(range(23)) for each in (fitting, scaled))
    torch.testing.assert_close(gain * here - 3, there, rtol=1e-4, atol=1e-3)


def test_sample_of_latents_that_the_reference_holds_is_these_latents(fitting):
    """The reference leaves out nothing: a latent's own copy is its nearest, and in a large scale always drawn."""
    large = MemoryLatents(1000 * fitting.reference.latents)
    model = fit_interpolation(Fitting(large, large))
    assert model.chosen == list(range(57))
    torch.testing.assert_close(model.sample(range(57)), large.latents)


def test_sample_is_the_same_in_any_batch(fitting):
    model = fit_interpolation(fitting)
    whole, parts = model.sample(range(23)), [model.sample([i]) for i in (22, 0, 11)]
    torch.testing.assert_close(torch.cat(parts), whole[[22, 0, 11]], rtol=0, atol=0)
    assert whole.dtype == torch.float32


def test_halfway_keeps_the_norm_of_an_arc_and_joins_opposite_ends_by_a_line():
    first, second = (random_latents(5, seed).double() for seed in (0, 1))
    second = second / second.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * first.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    middle = halfway(first, second)
    torch.testing.assert_close(middle.flatten(1).norm(dim=1), first.flatten(1).norm(dim=1))
    torch.testing.assert_close(halfway(first, -first), torch.zeros_like(first))
    torch.testing.assert_close(halfway(first, 3 * first), 2 * first)


def test_halfway_is_continuous_where_the_arc_becomes_a_line(monkeypatch):
    first = random_latents(1, 0).double()
    second = first + 1e-5 * random_latents(1, 1)
    arc = halfway(first, second)
    monkeypatch.setattr(interpolation, "STRAIGHT", 1.0)
    torch.testing.assert_close(arc, halfway(first, second), rtol=0, atol=1e-9)


def test_find_neighbours_in_another_space_centres_first(fitting):
    centred = LatentSpace("shift and scale", (5.0,), (1.0,))
    moved = Fitting(*(MemoryLatents(each.latents - 5) for each in fitting[:2]))
    assert torch.equal(find_neighbours(fitting, centred).indices, find_neighbours(moved).indices)
    assert not torch.equal(find_neighbours(fitting).indices, find_neighbours(moved).indices)
