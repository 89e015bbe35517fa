import math

import numpy as np
import pytest
import torch

from spectrum_matching.metrics.estimates import estimate_class_mean
from spectrum_matching.metrics.latents import linear_probe as module
from spectrum_matching.metrics.latents.linear_probe import LINEAR_PROBE, linear_probe, probe_refusal
from spectrum_matching.metrics.latents.moments import ChannelMoments
from spectrum_matching.metrics.latents.sweep import LatentBatch, LatentSweep


def clusters(spread, generator, n=60, n_classes=3, c=4):
    labels = torch.arange(n) % n_classes
    centres = torch.randn(n_classes, c, generator=generator)
    mixing = torch.randn(c, c, generator=generator)
    return centres[labels] + spread * torch.randn(n, c, generator=generator) @ mixing, labels


def literal(features, labels):
    """Fit again without each image, and classify it by the nearest mean, measured by the covariance within classes."""
    x, y = features.numpy().astype("float64"), labels.numpy()
    found = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        means = {k: x[rest & (y == k)].mean(0) for k in np.unique(y)}
        residuals = x[rest] - np.stack([means[k] for k in y[rest]])
        inverse = np.linalg.inv(residuals.T @ residuals)
        distances = {k: (x[i] - mean) @ inverse @ (x[i] - mean) for k, mean in means.items()}
        found.append(min(distances, key=distances.get) == y[i])
    return found


@pytest.mark.parametrize("spread", [0.3, 1.0])
@pytest.mark.parametrize("n", [45, 61])
def test_linear_probe_equals_fits_without_each_image(spread, n, generator):
    features, labels = clusters(spread, generator, n)
    expected = literal(features, labels)
    assert linear_probe(features, labels).tolist() == expected
    assert any(expected)


def test_linear_probe_ignores_linear_maps_batches_and_names_of_classes(generator, monkeypatch):
    features, labels = clusters(1.0, generator)
    whole = linear_probe(features, labels)
    mapped = features.double() @ torch.randn(4, 4, generator=generator).double() + 7
    assert torch.equal(linear_probe(mapped, 5 - 3 * labels), whole)
    monkeypatch.setattr(module, "BATCH_SIZE", 7)
    assert torch.equal(linear_probe(features, labels), whole)


def test_linear_probe_leaves_out_directions_that_do_not_vary(generator):
    features, labels = clusters(1.0, generator)
    doubled = torch.cat([features, features[:, :1], torch.ones(len(features), 1)], 1)
    assert torch.equal(linear_probe(doubled, labels), linear_probe(features, labels))


def test_linear_probe_finds_separated_classes_and_nothing_in_noise(generator):
    features, labels = clusters(1e-3, generator)
    assert linear_probe(features, labels).all()
    n, classes = 4000, 5
    labels = torch.arange(n) % classes
    found = linear_probe(torch.randn(n, 8, generator=generator), labels)
    assert float(found.double().mean()) == pytest.approx(1 / classes, abs=3 * math.sqrt(0.16 / n))


def test_linear_probe_of_unequal_classes_is_at_chance_in_noise(generator):
    labels = (torch.arange(3000) % 10 == 0).long()
    found = estimate_class_mean(linear_probe(torch.randn(3000, 6, generator=generator), labels), labels)
    assert float(found) == pytest.approx(0.5, abs=3 * found.standard_error)


def test_probe_refusal_names_what_is_missing():
    labels = torch.arange(40) % 4
    assert probe_refusal(labels, 7) == ""
    assert probe_refusal(labels, 8) == "40 images are too few for a linear probe of 8 channels: it needs 44"
    assert probe_refusal(torch.zeros(40), 2) == "at least 2 classes are needed, got 1"
    assert "1 of 3 classes have fewer than 6 images" in probe_refusal(torch.tensor([0, 1] * 10 + [2] * 5), 2)


def test_linear_probe_of_a_sweep_takes_labelled_images_alone(generator):
    means, labels = clusters(0.5, generator, n=70, c=3)
    latents = means[:, :, None, None] + torch.randn(70, 3, 4, 4, generator=generator)
    labels[60:] = -1
    moments = ChannelMoments()
    moments.add(latents)

    def number(labels):
        batches = [LatentBatch(latents[:40], labels[:40]), LatentBatch(latents[40:], labels[40:])]
        return LatentSweep(lambda: batches, moments.moments(), [LINEAR_PROBE]).numbers()["probe_accuracy"]

    found, expected = number(labels), linear_probe(latents.mean((2, 3))[:60], labels[:60])
    assert float(found) == pytest.approx(float(expected.double().mean()))
    assert found.white == pytest.approx(1 / 3)
    assert number(torch.full((70,), -1)).refused == "no labels"


def test_linear_probe_standard_error_is_the_spread_over_sets(generator):
    centres = torch.randn(5, 4, generator=generator)
    labels = torch.arange(100) % 5
    runs = [linear_probe(centres[labels] + torch.randn(100, 4, generator=generator), labels) for _ in range(60)]
    found = [estimate_class_mean(run, labels) for run in runs]
    spread = float(torch.tensor([number.value for number in found]).std())
    assert 0.7 < spread / (sum(number.standard_error for number in found) / len(found)) < 1.4
