import pytest
import torch

from latents_of_tests import MemoryLatents
from random_of_tests import normal
from spectrum_matching.metrics.generative import gaussian
from spectrum_matching.metrics.generative.gaussian import classes_of, fit_gaussian
from spectrum_matching.metrics.generative.laws import Dense, Separable
from spectrum_matching.metrics.generative.model import Fitting
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.statistics import RunningMoments
from spectrum_matching.spectrum.dct import dct2, idct2

SHAPE = (2, 4, 4)


def fitted(latents, labels=None, progress=lambda done, total: None):
    reference = MemoryLatents(latents.float(), labels)
    return fit_gaussian(Fitting(reference, reference, progress=progress))


def correlated(n, seed=0, shape=SHAPE):
    """Latents with a mean and a covariance of full rank that is neither stationary nor separable."""
    d = torch.Size(shape).numel()
    root = normal(d, d, seed=100) / d**0.5
    return (normal(n, d, seed=seed) @ root + 3 * normal(d, seed=101)).unflatten(1, shape)


def covariance(model):
    """The covariance of the raw latents of a model of one class."""
    law = next(iter(model.laws.values()))
    d = law.mean.numel()
    unit = law.basis.back(law.variances.sqrt() * law.basis.forward(torch.eye(d).view(d, *law.mean.shape)))
    root = unit.double() * torch.tensor(model.space.std, dtype=torch.float64).view(-1, 1, 1)
    return root.flatten(1).mT @ root.flatten(1)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_fit_gaussian_has_the_mean_and_covariance_of_the_latents():
    latents = correlated(300)
    model = fitted(latents)
    assert relative(covariance(model), latents.flatten(1).mT.cov(correction=0)) < 1e-5
    assert relative(model.space.from_unit(model.laws[-1].mean[None])[0].double(), latents.mean(0)) < 1e-5


def test_gaussian_distance_falls_as_samples_grow():
    """On Gaussian data features that are the latents themselves have distance 0 in the limit, like 1/n."""
    reference = correlated(6000)
    model, other = fitted(reference), RunningMoments().add(correlated(6000, seed=1).flatten(1))

    def distance(n):
        return frechet_distance(RunningMoments().add(model.sample(range(n)).flatten(1)), other)

    few, many = distance(250), distance(4000)
    spread = float(reference.flatten(1).var(0).sum())
    assert many < 0.01 * spread
    assert 4 < few / many < 40


def test_fit_gaussian_of_fewer_latents_than_numbers_stays_in_their_span():
    latents = correlated(12)
    drawn = fitted(latents).sample(range(50)).double()
    centred = (latents - latents.mean(0)).flatten(1)
    outside = (drawn - latents.mean(0)).flatten(1)
    outside = outside - outside @ torch.linalg.pinv(centred) @ centred
    assert outside.norm() < 1e-3 * drawn.norm()
    assert relative(covariance(fitted(latents)), latents.flatten(1).mT.cov(correction=0)) < 1e-4


def test_fit_gaussian_of_a_dead_channel_keeps_it_constant():
    latents = correlated(100)
    latents[:, 1] = 5
    drawn = fitted(latents).sample(range(20))
    assert (drawn[:, 1] - 5).abs().max() < 1e-4
    assert drawn[:, 0].std() > 0.1


def two_classes(n):
    labels = torch.arange(n) % 2
    gains = torch.where(labels == 1, 3.0, 0.5).double().view(-1, 1, 1, 1)
    return gains * correlated(n, seed=2) + 4 * labels.view(-1, 1, 1, 1), labels


def test_fit_gaussian_fits_each_class():
    latents, labels = two_classes(4000)
    model = fitted(latents, labels)
    drawn, classes = model.sample(range(4000)).double(), model.classes(range(4000))
    for k in (0, 1):
        true = latents[labels == k]
        assert relative(drawn[classes == k].mean(0), true.mean(0)) < 0.1
        assert relative(drawn[classes == k].flatten(1).mT.cov(), true.flatten(1).mT.cov()) < 0.2


@pytest.mark.parametrize(("name", "value"), [("MAX_NUMBERS", 1), ("MAX_RATIO", 0.01)])
def test_fit_gaussian_with_one_covariance_has_that_of_all_latents_together(monkeypatch, name, value):
    monkeypatch.setattr(gaussian, name, value)
    latents, labels = two_classes(400)
    model = fitted(latents, labels)
    between = model.space.from_unit(torch.stack([law.mean for law in model.laws.values()])).double()
    total = covariance(model) + between.flatten(1).mT.cov(correction=0)
    assert relative(total, latents.flatten(1).mT.cov(correction=0)) < 1e-5


def test_classes_of_too_few_latents_are_one():
    assert classes_of(torch.arange(99) % 2).unique().tolist() == [0]
    assert classes_of(torch.arange(100) % 2).unique().tolist() == [0, 1]
    assert classes_of(torch.full((100,), -1)).unique().tolist() == [-1]


@pytest.mark.parametrize("by_class", [False, True])
def test_fit_gaussian_does_not_see_an_invertible_gain(by_class):
    """A gain on DCT coefficients before the fit and its inverse on what is drawn leave the law as it was."""
    latents, labels = two_classes(600)
    labels = labels if by_class else None
    gain = torch.linspace(0.05, 20, 16).double().view(4, 4)
    plain = fitted(latents, labels)
    through = fitted(idct2(dct2(latents) * gain), labels)
    n = 3000
    drawn = [plain.sample(range(n)).double(), idct2(dct2(through.sample(range(n)).double()) / gain)]
    for k in plain.laws:
        some = plain.classes(range(n)) == k
        one, other = (x[some].flatten(1).mT.cov() for x in drawn)
        assert relative(other, one) < 0.15


def test_fit_gaussian_recovers_separable_fields_exactly(monkeypatch):
    """Above 4,096 numbers: channels ⊗ positions of latents whose sample covariance is that very product."""
    monkeypatch.setattr(gaussian, "MAX_FULL", 8)
    c, s = 2, 16
    a, b = normal(c, c, seed=5), normal(s, s, seed=6)
    # All sign patterns of two numbers times unit vectors: their covariance is the identity to rounding.
    white = torch.linalg.qr(normal(400, c * s, seed=7) - normal(400, c * s, seed=7).mean(0)).Q * 20
    latents = (a @ white.view(-1, c, s) @ b.mT).unflatten(2, (4, 4))
    model = fitted(latents)
    assert isinstance(model.laws[-1].basis, Separable)
    expected = torch.kron(a @ a.mT, b @ b.mT)
    assert relative(covariance(model), expected) < 1e-4


@pytest.mark.parametrize("n", [4000, 80])
def test_fit_gaussian_of_separable_fields_by_class(monkeypatch, n):
    """Classes of too low a rank share one covariance."""
    monkeypatch.setattr(gaussian, "MAX_FULL", 8)
    labels = torch.arange(n) % 4
    gains = (1.0 + labels).double().view(-1, 1, 1, 1)
    model = fitted(gains * normal(n, *SHAPE), labels)
    powers = [float(law.variances.mean()) for law in model.laws.values()]
    assert len(powers) == (4 if n > 50 * 4 else 1)
    if n == 4000:
        assert powers[3] / powers[0] == pytest.approx(16, rel=0.1)


def test_fit_gaussian_of_few_latents_above_the_limit_is_of_low_rank(monkeypatch):
    monkeypatch.setattr(gaussian, "MAX_FULL", 8)
    monkeypatch.setattr(gaussian, "LEAST", 2)
    model = fitted(normal(6, *SHAPE))
    assert [law.variances.shape for law in model.laws.values()] == [(2, 12)]
    assert model.sample([0, 1]).isfinite().all()


def test_fit_gaussian_reports_progress_and_refuses_too_few_latents():
    calls = []
    fitted(correlated(50), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(50, 100), (100, 100)]
    assert isinstance(fitted(correlated(50)).laws[-1].basis, Dense)
    with pytest.raises(ValueError, match="9 reference latents are too few for a covariance: take 10 or more"):
        fitted(correlated(9))
