import sys

import pytest
import torch

from spectrum_matching.metrics.latents.uniformity import Reservoir, project, uniformity


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_clusters_are_less_even_than_a_uniform_cloud(generator):
    even = torch.rand(400, 2, generator=generator, dtype=torch.float64)
    clustered = torch.cat([even[:200], 0.02 * even[200:]])
    a, b = uniformity(even), uniformity(clustered)
    assert a.cv < b.cv
    assert a.gini < b.gini
    assert a.entropy > b.entropy


def test_place_and_scale_of_the_plane_change_nothing(generator):
    points = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    assert uniformity(7 * points.flip(1) - 3) == pytest.approx(uniformity(points), rel=1e-9)


def test_the_reservoir_holds_all_while_there_is_room_and_then_a_fixed_number():
    reservoir = Reservoir(20, seeded())
    x = torch.arange(24.0).view(2, 3, 2, 2)
    reservoir.add(x)
    assert torch.equal(reservoir.cells(), x.flatten(2).transpose(1, 2).flatten(0, 1))
    reservoir.add(torch.ones(10, 3, 4, 4))
    assert reservoir.cells().shape == (20, 3)
    with pytest.raises(ValueError, match="no latents"):
        Reservoir(20, seeded()).cells()


def test_the_sample_does_not_depend_on_batches():
    x = torch.randn(30, 2, 4, 4, generator=seeded(1))
    samples = []
    for size in (1, 7, 30):
        reservoir = Reservoir(50, seeded())
        for batch in x.split(size):
            reservoir.add(batch)
        samples.append(reservoir.cells())
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])


def test_every_cell_is_as_likely():
    x = torch.arange(100.0).view(25, 1, 2, 2)
    drawn = []
    for seed in range(400):
        reservoir = Reservoir(10, seeded(seed))
        reservoir.add(x)
        drawn.append(reservoir.cells()[:, 0])
    counts = torch.cat(drawn).long().bincount(minlength=100).double()
    chi_square = ((counts - 40).square() / 40).sum()
    assert 50 < chi_square < 150  # 99 degrees of freedom, ± 3.5 standard deviations


def test_the_projection_follows_its_seed_and_keeps_clusters_apart(generator):
    pytest.importorskip("sklearn")
    cells = torch.randn(92, 4, generator=generator)
    cells[46:] += 20
    plane = project(cells, 0)
    assert plane.shape == (92, 2)
    assert torch.equal(plane, project(cells, 0))
    own = torch.cdist(plane, plane).topk(6, largest=False).indices // 46
    assert (own == (torch.arange(92) // 46)[:, None]).all()


def test_what_is_missing_is_named(monkeypatch, generator):
    with pytest.raises(ValueError, match="t-SNE needs at least 91 cells, got 90"):
        project(torch.randn(90, 3, generator=generator), 0)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ValueError, match="needs scikit-learn; install it"):
        project(torch.randn(91, 3, generator=generator), 0)
