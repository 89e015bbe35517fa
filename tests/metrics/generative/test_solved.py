import pytest
import torch

from latents_of_tests import MemoryLatents
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.generative import solved
from spectrum_matching.metrics.generative.gaussian import fit_gaussian
from spectrum_matching.metrics.generative.laws import ClassLaws, GaussianLaw, Separable
from spectrum_matching.metrics.generative.model import Fitting
from spectrum_matching.metrics.generative.solved import Level, Normal, SolvedModel, fit_solved, solve, step_weight
from spectrum_matching.spectrum.dct import dct2, idct2
from spectrum_matching.spectrum.power import squared_radii

LEVELS = (4.0, 1.0, 0.3)
AMPLITUDE = 2 / (1 + squared_radii(4, 4).sqrt())


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stationary(n, seed=0):
    """Gaussian fields (n, 2, 4, 4) of a known spectrum."""
    return idct2(normal(n, 2, 4, 4, seed=seed) * AMPLITUDE)


def scale_mixture(n, seed=0):
    """Fields whose contrast varies from one to the next, as that of images does; half have little, half much."""
    contrast = torch.where(torch.arange(n) % 2 == 0, 0.2, 1.4).view(-1, 1, 1, 1)
    return contrast * stationary(n, seed)


def fitting(latents, labels=None, **options):
    reference = MemoryLatents(latents, labels)
    return Fitting(reference, reference, **options)


@pytest.fixture(autouse=True)
def few_levels(monkeypatch):
    monkeypatch.setattr(solved, "LEVELS", LEVELS)
    monkeypatch.setattr(solved, "N_FILTERS", 24)
    monkeypatch.setattr(solved, "N_GATES", 6)


def errors(model, data, level):
    """The squared error of the Wiener filter of the fitted Gaussian, and of the solved denoiser, on new data."""
    units = model.laws.space.to_unit(data)
    noisy = units + level.sigma * normal(*units.shape, seed=99)
    law = model.laws.laws[-1]
    linear = law.denoise(noisy, level.sigma)
    whole = linear + model.correction(noisy, level, -1)
    return [float((estimate - units).square().mean()) for estimate in (linear, whole)]


def test_solved_denoiser_of_stationary_gaussian_fields_is_the_wiener_filter():
    """Of the true spectrum: to sampling error without random features, and no worse with them."""
    model, new = fit_solved(fitting(stationary(3000))), stationary(2000, seed=1)
    std = float(torch.tensor(model.laws.space.std).mean())
    power = AMPLITUDE.square() / std**2
    for level in model.levels:
        noisy = new / std + level.sigma * normal(*new.shape, seed=99)
        wiener = idct2(dct2(noisy) * power / (power + level.sigma**2))
        exact = float((wiener - new / std).square().mean())
        linear, whole = errors(model, new, level)
        assert linear == pytest.approx(exact, rel=0.03)
        assert whole < 1.01 * linear


def test_solved_denoiser_beats_the_wiener_filter_where_contrast_varies():
    model, new = fit_solved(fitting(scale_mixture(2000))), scale_mixture(1000, seed=1)
    linear, whole = errors(model, new, model.levels[1])
    assert whole < 0.9 * linear


def test_solved_samples_have_the_contrasts_of_the_data():
    latents = scale_mixture(2000)

    def kurtosis(x):
        return float(x.pow(4).mean() / x.square().mean().square())

    data, gaussian, found = (
        kurtosis(x)
        for x in (
            latents,
            fit_gaussian(fitting(latents)).sample(range(800)),
            fit_solved(fitting(latents)).sample(range(800)),
        )
    )
    assert gaussian < 0.8 * data
    assert abs(found - data) < 0.6 * abs(gaussian - data)


def test_solved_model_without_weights_draws_what_the_gaussian_draws():
    labels = torch.arange(400) // 2 % 2
    latents = scale_mixture(400) + labels.view(-1, 1, 1, 1)
    model = fit_solved(fitting(latents, labels, seed=5))
    silent = [level._replace(weights=torch.zeros_like(level.weights)) for level in model.levels]
    linear = SolvedModel(model.laws, model.features, silent).sample(range(30))
    expected = fit_gaussian(fitting(latents, labels, seed=5)).sample(range(30))
    torch.testing.assert_close(linear, expected, atol=1e-4, rtol=0)
    assert (model.sample(range(30)) - linear).abs().max() > 0.05


def test_solved_model_keeps_the_noise_that_a_basis_of_few_vectors_leaves_out():
    """At each level the features see noise of that level in all directions, as those that they were solved on did."""
    vectors = torch.linalg.qr(normal(16, 16)).Q
    law = GaussianLaw(torch.zeros(2, 4, 4), torch.ones(2, 3), Separable(torch.eye(2), vectors[:, :3], (2, 4, 4)))
    seen = []

    def features(noisy, estimate, k):
        seen.append(noisy)
        return noisy[:, :1]

    levels = [Level(sigma, 1.0, torch.zeros(1, 2)) for sigma in LEVELS]
    SolvedModel(ClassLaws({0: law}, torch.ones(1), LatentSpace(), 0), features, levels).sample(range(200))
    for sigma, noisy in zip(LEVELS, (seen[0], seen[1], seen[-1]), strict=True):
        left_out = noisy.flatten(2) @ vectors[:, 3:] * (1 + sigma**2) ** 0.5
        assert float(left_out.std()) == pytest.approx(sigma, rel=0.05)


def test_solved_model_draws_the_same_sample_in_any_batch():
    labels = torch.arange(400) // 2 % 2
    model = fit_solved(fitting(scale_mixture(400), labels))
    whole = model.sample(range(12))
    torch.testing.assert_close(torch.cat([model.sample([i]) for i in range(12)]), whole, atol=1e-4, rtol=1e-4)


def test_fit_solved_does_not_read_the_images_it_is_scored_against():
    reference = MemoryLatents(scale_mixture(200))
    models = [fit_solved(Fitting(reference, MemoryLatents(other))) for other in (stationary(50), stationary(60, 1))]
    assert torch.equal(models[0].sample([3]), models[1].sample([3]))


def test_solve_finds_the_weights_and_ignores_what_does_not_generalise():
    features, weights = normal(500, 6).double(), normal(6, 2, seed=1).double()
    sides = [Normal(6, 2), Normal(6, 2)]
    for side, rows in zip(sides, features.split(250), strict=True):
        side.add(rows, rows @ weights)
    torch.testing.assert_close(solve(*sides), weights, atol=1e-5, rtol=0)
    assert sides[1].error(weights) == pytest.approx(0, abs=1e-6)
    noise = [Normal(100, 2), Normal(100, 2)]
    for seed, side in enumerate(noise):
        side.add(normal(120, 100, seed=seed).double(), normal(120, 2, seed=seed + 5).double())
    found = solve(*noise)
    assert noise[1].error(found) <= noise[1].energy
    assert found.norm() < 0.2


def test_step_weight_is_the_integral():
    for variance in (0.0, 0.01, 3.0):
        sigma = torch.linspace(0.2, 1.5, 100_001).double()
        expected = torch.trapezoid(1 / (sigma * (variance + sigma.square()).sqrt()), sigma)
        found = step_weight(torch.tensor([variance]).double(), 1.5, 0.2)
        assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_fit_solved_reports_progress_up_to_its_total():
    calls = []
    fit_solved(fitting(scale_mixture(100), progress=lambda done, total: calls.append((done, total))))
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == calls[-1][1]


def test_fit_solved_refuses_latents_of_too_many_channels():
    with pytest.raises(ValueError, match="latents of 129 channels are too wide to solve: at most 128"):
        fit_solved(fitting(normal(20, 129, 2, 2)))
