import math
from itertools import product

import pytest
import torch
from diffusers import DDPMScheduler

from spectrum_matching.diffusion import Path

KINDS = ["linear", "cosine", "vp", "stable_diffusion"]
PREDICTIONS = ["velocity", "noise", "data"]

kinds = pytest.mark.parametrize("kind", KINDS)
every = pytest.mark.parametrize(("kind", "prediction"), list(product(KINDS, PREDICTIONS)))


@pytest.fixture
def drawn(generator):
    """Data, noise and t of one batch, float64, t away from the ends."""
    data, noise = (torch.randn(7, 2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return data, noise, torch.linspace(0.05, 0.95, 7, dtype=torch.float64)


@kinds
def test_path_ends_are_exact_in_float32(kind):
    path, ends = Path(kind), torch.tensor([0.0, 1.0])
    alpha, sigma = path.alpha(ends), path.sigma(ends)
    assert alpha[0] == 1
    assert sigma[0] == 0
    last = {"vp": math.exp(-5.025), "stable_diffusion": 0.0682654}.get(kind, 0.0)
    assert alpha[1] == (pytest.approx(last, rel=1e-5) if last else 0)
    assert sigma[1] == pytest.approx(math.sqrt(1 - last**2), abs=1e-6)


@kinds
def test_path_slopes_are_derivatives(kind):
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    along = Path(kind).coefficients(t)
    for value, slope in ((along.alpha, along.alpha_slope), (along.sigma, along.sigma_slope)):
        (derivative,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        torch.testing.assert_close(slope, derivative, rtol=1e-10, atol=1e-12)


def test_path_stable_diffusion_is_its_schedule():
    """At t = n / 1000 the product of 1 − β that diffusers has, and U-ViT's code restated; log-linear in between."""
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    path, t = Path("stable_diffusion", "noise"), torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(path.alpha(t).square(), (1 - betas).cumprod(0))
    torch.testing.assert_close(path.alpha(t).square().float(), scheduler.alphas_cumprod, rtol=1e-5, atol=0)
    middle = (path.alpha(t[1:]).log() + path.alpha(t[:-1]).log()) / 2
    torch.testing.assert_close(path.alpha(t[1:] - 0.0005).log(), middle)
    recorded = torch.tensor([0.946, 0.822, 0.527, 0.238, 0.068], dtype=torch.float64)
    torch.testing.assert_close(
        path.alpha(torch.tensor([0.1, 0.25, 0.5, 0.75, 1.0]).double()), recorded, rtol=0, atol=6e-4
    )
    assert path.ends == (0.0, 1.0)
    assert Path("stable_diffusion").ends == (1e-3, 1.0)


@pytest.mark.parametrize("kind", ["cosine", "vp", "stable_diffusion"])
def test_path_preserves_the_variance_of_unit_data(kind):
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    path = Path(kind)
    torch.testing.assert_close(path.alpha(t).square() + path.sigma(t).square(), torch.ones_like(t))


def test_path_vp_decays_at_half_of_beta():
    t = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    integral = torch.cumulative_trapezoid(0.1 + 19.9 * t, t)
    torch.testing.assert_close(Path("vp").alpha(t)[1:], torch.exp(-integral / 2), rtol=1e-9, atol=0)


@kinds
def test_path_log_snr_decreases_and_matches_alpha_and_sigma(kind):
    path, t = Path(kind), torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    torch.testing.assert_close(path.log_snr(t).exp(), (path.alpha(t) / path.sigma(t)).square())
    assert (path.log_snr(t).diff() < 0).all()
    assert path.log_snr(torch.zeros(1)) == math.inf


@pytest.mark.slow
@kinds
def test_path_velocity_is_the_derivative_of_mix(kind, drawn):
    data, noise, t = drawn
    path = Path(kind)
    _, derivative = torch.func.jvp(lambda t: path.mix(data, noise, t), (t,), (torch.ones_like(t),))
    torch.testing.assert_close(path.target(data, noise, t), derivative)


@every
def test_path_converts_between_all_predictions(kind, prediction, drawn):
    data, noise, t = drawn
    path = Path(kind, prediction)
    noisy, truth = path.mix(data, noise, t), path.target(data, noise, t)
    torch.testing.assert_close(path.as_data(truth, noisy, t), data)
    torch.testing.assert_close(path.as_noise(truth, noisy, t), noise)
    torch.testing.assert_close(path.as_velocity(truth, noisy, t), Path(kind).target(data, noise, t))
    torch.testing.assert_close(path.score(truth, noisy, t), -noise / path.sigma(t).view(-1, 1, 1, 1))


@every
def test_path_conversions_are_accurate_in_float32(kind, prediction, generator):
    path = Path(kind, prediction)
    t = torch.linspace(1e-3, path.ends[1], 65)
    data, noise = torch.randn(2, 65, 1, 1, 64, generator=generator)
    noisy, truth = path.mix(data, noise, t), path.target(data, noise, t)
    # x_t is rounded, and a division by a small share of data or noise makes this larger.
    share = torch.minimum(path.alpha(t), path.sigma(t)).clamp(min=1e-3).view(-1, 1, 1, 1)
    for convert in (path.as_data, path.as_noise, path.as_velocity):
        exact = convert(truth.double(), noisy.double(), t.double())
        assert ((convert(truth, noisy, t) - exact).abs() <= 1e-6 * (1 + exact.abs()) / share).all()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_path_velocity_converts_at_both_ends(kind, generator):
    path, t = Path(kind), torch.tensor([0.0, 1.0])
    data, noise = torch.randn(2, 2, 1, 4, 4, generator=generator)
    noisy, velocity = path.mix(data, noise, t), path.target(data, noise, t)
    torch.testing.assert_close(path.as_data(velocity, noisy, t), data)
    torch.testing.assert_close(path.as_noise(velocity, noisy, t), noise)


@every
def test_path_score_equals_that_of_a_gaussian(kind, prediction, gaussian, drawn):
    path, (_, _, t) = Path(kind, prediction), drawn
    noisy = torch.linspace(-2, 2, 7, dtype=torch.float64).view(7, 1, 1, 1).expand(7, 3, 1, 1)
    level = t.view(-1, 1, 1, 1)
    expected = -(noisy - path.alpha(level) * gaussian.mean) / gaussian.spread(path, level)
    torch.testing.assert_close(path.score(gaussian.predictor(path)(noisy, t), noisy, t), expected)


def test_path_converts_in_the_precision_of_the_noisy_data(generator):
    noisy, t = torch.randn(2, 1, 4, 4, generator=generator), torch.tensor([0.3, 0.7])
    assert Path("vp").as_data(noisy.bfloat16(), noisy, t).dtype == torch.float32


@pytest.mark.unchecked
@pytest.mark.parametrize("kind", ["linear", "stable_diffusion"])
def test_path_refuses_the_integer_steps_of_a_schedule(kind):
    with pytest.raises(ValueError, match=r"levels in \[0, 1\]"):
        Path(kind).mix(torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.tensor([1, 999]))


def test_path_refuses_unknown_kinds():
    with pytest.raises(ValueError, match="linear, cosine, vp, stable_diffusion; got 'circle'"):
        Path("circle")
    with pytest.raises(ValueError, match="velocity, noise, data; got 'score'"):
        Path("linear", "score")
