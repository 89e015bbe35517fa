import math
import re
from itertools import pairwise, product
from pathlib import Path as FilePath

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)

from spectrum_matching.diffusion import (
    SAMPLERS,
    Path,
    SampleNoise,
    by_steps,
    evaluation_times,
    evaluations,
    guided,
    is_guided,
    time_grid,
)

KINDS = ["linear", "cosine", "vp"]
ORDERS = {"euler": 1, "heun": 2, "dpm_solver": 2, "dpm_solver_3": 3, "euler_maruyama": 1, "euler_maruyama_mean": 1}
PAGE = FilePath(__file__).parents[2] / "docs" / "diffusion.md"

kinds = pytest.mark.parametrize("kind", KINDS)
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
deterministic = pytest.mark.parametrize("name", ["euler", "heun", "dpm_solver", "dpm_solver_3"])


def between(start, stop, n_steps):
    return torch.linspace(start, stop, n_steps + 1, dtype=torch.float64)


@pytest.fixture
def start():
    """Five starting points for each channel, float64."""
    return torch.linspace(-2, 2, 5, dtype=torch.float64).view(5, 1, 1, 1).repeat(1, 3, 1, 1)


def curved(noisy, t):
    """A prediction without meaning that is linear in nothing."""
    return torch.tanh(noisy + t.view(-1, 1, 1, 1)) - 0.3 * noisy.roll(1, dims=-1).cos()


# Convergence on Gaussian data


def flow_error(name, path, gaussian, start, times):
    exact = gaussian.carried(path, start, *times[[0, -1]].tolist())
    return (SAMPLERS[name](gaussian.predictor(path), path, start, times) - exact).abs().max().item()


def moment_errors(path, gaussian, times):
    """Of the mean and the variance that Euler–Maruyama has at times[-1] on Gaussian data, without chance.

    The sampler is affine in its start and in each draw, so that zeros and unit vectors tell its coefficients.
    """
    unit_vectors = torch.eye(len(times), dtype=torch.float64)[:, :, None, None, None].expand(-1, -1, 3, 1, 1)
    inputs = torch.cat([unit_vectors, torch.zeros_like(unit_vectors[:, :1])], dim=1)  # (start and draws, rows, …)
    out = SAMPLERS["euler_maruyama"](gaussian.predictor(path), path, inputs[0], times, lambda step: inputs[1 + step])
    response, constant = out[:-1] - out[-1], out[-1]
    begin, end = times[0], times[-1]
    mean = response[0] * path.alpha(begin) * gaussian.mean + constant
    variance = response[0].square() * gaussian.spread(path, begin) + response[1:].square().sum(0)
    return [
        (mean - path.alpha(end) * gaussian.mean).abs().max().item(),
        (variance - gaussian.spread(path, end)).abs().max().item(),
    ]


def measured_order(name, kind, gaussian, start):
    """log2 of the error at 255 steps over that at 510, both divisible by 3, between t = 0.9 and 0.1."""
    path, grids = Path(kind), [between(0.9, 0.1, n_steps) for n_steps in (255, 510)]
    if name.startswith("euler_maruyama"):  # which are one between these times
        (_, coarse), (_, fine) = (moment_errors(path, gaussian, times) for times in grids)
    else:
        coarse, fine = (flow_error(name, path, gaussian, start, times) for times in grids)
    return math.log2(coarse / fine)


@pytest.mark.slow
@every_sampler
@kinds
def test_samplers_converge_at_their_order(name, kind, gaussian, start):
    assert measured_order(name, kind, gaussian, start) == pytest.approx(ORDERS[name], abs=0.12)


@kinds
def test_euler_maruyama_mean_converges_at_first_order(kind, gaussian):
    (coarse, _), (fine, _) = (moment_errors(Path(kind), gaussian, between(0.9, 0.1, n)) for n in (64, 128))
    assert fine < max(1e-12, 0.53 * coarse)  # on the linear path the mean follows a line, which Euler does exactly


@deterministic
@kinds
def test_samplers_map_noise_to_data(name, kind, gaussian, start):
    path = Path(kind)
    coarse, fine = (flow_error(name, path, gaussian, start, time_grid(path, n_steps)) for n_steps in (32, 128))
    assert fine < coarse / 4 ** (0.6 * min(ORDERS[name], 2))  # the steps next to t = 0 and α = 0 decide
    assert fine < 0.04


@kinds
def test_samplers_reach_the_moments_of_the_data(kind, gaussian):
    path = Path(kind)
    coarse, fine = (moment_errors(path, gaussian, time_grid(path, n_steps)) for n_steps in (64, 128))
    assert fine[1] < 0.53 * coarse[1]
    assert max(fine) < 0.04


@pytest.mark.slow
def test_samplers_page_states_measured_orders(gaussian, start):
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert {name for name, *_ in rows} == set(SAMPLERS)
    for name, *orders in rows:
        for kind, order in zip(KINDS, orders, strict=True):
            assert float(order) == pytest.approx(measured_order(name, kind, gaussian, start), abs=0.0051)


# Identities


@every_sampler
@kinds
def test_samplers_agree_for_every_prediction(name, kind, gaussian, start, generator):
    draws = torch.randn(20, *start.shape, generator=generator, dtype=torch.float64)
    ends = [
        SAMPLERS[name](gaussian.predictor(path), path, start, between(0.99, 0, 20), lambda step: draws[step])
        for path in (Path(kind, prediction) for prediction in ("velocity", "noise", "data"))
    ]
    torch.testing.assert_close(ends[1], ends[0])
    torch.testing.assert_close(ends[2], ends[0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product([name for name in SAMPLERS if name != "euler_maruyama_mean"], ["linear"]),
        *product(["dpm_solver", "dpm_solver_3"], KINDS),
    ],
)
def test_samplers_return_known_data_exactly(name, kind, start, generator):
    path = Path(kind, "data")
    known = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    out = SAMPLERS[name](lambda noisy, t: known, path, start, time_grid(path, 12), lambda step: start)
    torch.testing.assert_close(out, known, rtol=0, atol=1e-12)


def published_sde(predict, noise, draws, n_steps):
    """SiT's and REPA's Euler–Maruyama on the linear path, restated: score from velocity, w = 2t, last step "Mean"."""
    times = torch.cat([torch.linspace(1.0, 0.04, n_steps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    x = noise
    for i, (t, t_next) in enumerate(pairwise(times)):
        velocity = predict(x, t.expand(len(x)))
        ratio = (1 - t) / -1
        score = (ratio * velocity - x) / (t**2 - ratio * t)
        drift, step = velocity - 0.5 * 2 * t * score, t_next - t
        x = x + drift * step
        if i < n_steps - 1:
            x = x + (2 * t).sqrt() * draws[i] * step.abs().sqrt()
    return x


def test_euler_maruyama_mean_is_the_published_sde(start, generator):
    draws = torch.randn(20, *start.shape, generator=generator, dtype=torch.float64)
    times = time_grid(Path(), 20, last_step=0.04)
    theirs = published_sde(curved, start, draws, 20)
    ours, other = (
        SAMPLERS[name](curved, Path(), start, times, lambda step: draws[step])
        for name in ("euler_maruyama_mean", "euler_maruyama")
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (other - theirs).abs().max() > 1e-3
    stopped = SAMPLERS["euler_maruyama"](curved, Path(), start, times[:-1], lambda step: draws[step])
    t = torch.full((len(start),), 0.04, dtype=torch.float64)
    noise = Path().as_noise(curved(stopped, t), stopped, t)
    torch.testing.assert_close(ours, other - 0.04 * noise, rtol=0, atol=1e-12)


def published_heun(conditional, unconditional, noise, n_steps, scale, low, high):
    """REPA's Heun, restated: the time before the step decides whether its corrector is guided."""
    times, x = torch.linspace(1, 0, n_steps + 1, dtype=torch.float64), noise
    for i, (t, t_next) in enumerate(pairwise(times)):
        is_guided = low <= t <= high

        def slope(x, at, is_guided=is_guided):
            with_label = conditional(x, at.expand(len(x)))
            without = unconditional(x, at.expand(len(x)))
            return without + scale * (with_label - without) if is_guided else with_label

        first = slope(x, t)
        ahead = x + (t_next - t) * first
        x = x + (t_next - t) * (0.5 * first + 0.5 * slope(ahead, t_next)) if i < n_steps - 1 else ahead
    return x


def test_by_steps_is_the_published_heun_with_an_interval(start):
    def denoiser(noisy, t, labels, tap=None):
        return curved(noisy, t) * torch.where(labels < 0, 0.5, 1.0).view(-1, 1, 1, 1), None

    labels, interval = torch.zeros(len(start), dtype=torch.int64), (0.25, 0.62)
    times = time_grid(Path(), 10)
    theirs = published_heun(curved, lambda x, t: 0.5 * curved(x, t), start, 10, 3.0, *interval)

    def at_step(t):
        return guided(denoiser, labels, 3.0 if is_guided(t, interval) else 1.0)

    ours = by_steps(SAMPLERS["heun"], at_step, Path(), start, times)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    by_evaluation = SAMPLERS["heun"](guided(denoiser, labels, 3.0, interval), Path(), start, times)
    assert (by_evaluation - theirs).abs().max() > 1e-3


@every_sampler
@kinds
def test_samplers_are_accurate_in_float32(name, kind, start):
    path = Path(kind)
    wide, narrow = (
        SAMPLERS[name](curved, path, x, time_grid(path, 50), lambda step: 0.5 * torch.ones_like(start))
        for x in (start, start.float())
    )
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-4)


@every_sampler
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
@kinds
def test_evaluation_times_are_those_of_the_sampler(name, prediction, kind, start):
    path, asked = Path(kind, prediction), []
    times = time_grid(path, 7, shift=2.0)

    def predict(noisy, t):
        assert (t == t[0]).all()
        asked.append(t[0].item())
        return curved(noisy, t)

    out = SAMPLERS[name](predict, path, start, times, torch.zeros_like(start).expand(7, -1, -1, -1, -1).__getitem__)
    assert out.isfinite().all()
    assert asked == evaluation_times(name, times)
    assert len(asked) == evaluations(name, 7)
    assert min(asked) > 0


@every_sampler
@kinds
def test_samplers_do_not_depend_on_the_batch(name, kind):
    path, shape = Path(kind), (3, 4, 4)

    def sample(indices):
        noise = SampleNoise(5, indices)
        return SAMPLERS[name](curved, path, noise.start(shape), time_grid(path, 6), lambda step: noise.at(step, shape))

    together = sample(range(7))
    apart = torch.cat([sample([0, 1, 2]), sample([3]), sample([4, 5, 6])])
    assert torch.equal(together, apart)
    assert torch.equal(sample([6, 2]), together[[6, 2]])


# diffusers


def walked(scheduler, noise, predict):
    """Where a scheduler of diffusers arrives; predict: (x, index of the step) → prediction."""
    x = noise
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(predict(x, i), t, x).prev_sample
    return x


@pytest.mark.parametrize("n_steps", [5, 20, 40])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_dpm_solver_agrees_with_diffusers_on_the_linear_path(n_steps, shift, start):
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, algorithm_type="dpmsolver++"
    )
    scheduler.set_timesteps(n_steps)
    times = scheduler.sigmas.double()
    theirs = walked(scheduler, start, lambda x, i: curved(x, times[i : i + 1]))
    torch.testing.assert_close(SAMPLERS["dpm_solver"](curved, Path(), start, times), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_steps", [5, 20, 40])
def test_dpm_solver_agrees_with_diffusers_on_a_variance_preserving_path(n_steps, start):
    scheduler = DPMSolverMultistepScheduler(beta_schedule="linear", algorithm_type="dpmsolver++")
    scheduler.set_timesteps(n_steps)
    path = Path("cosine", "noise")  # σ/α = tan(πt/2) is what diffusers calls sigma
    times = torch.atan(scheduler.sigmas.double()) * 2 / math.pi
    theirs = walked(scheduler, start, lambda x, i: curved(x, times[i : i + 1]))
    torch.testing.assert_close(SAMPLERS["dpm_solver"](curved, path, start, times), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_steps", [5, 20, 50])
def test_dpm_solver_agrees_with_diffusers_on_stable_diffusion_s_betas(n_steps, start):
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, algorithm_type="dpmsolver++"
    )
    scheduler.set_timesteps(n_steps)
    path, times = Path("stable_diffusion", "noise"), torch.zeros(n_steps + 1, dtype=torch.float64)
    times[:-1] = (scheduler.timesteps.double() + 1) / 1000
    theirs = walked(scheduler, start, lambda x, i: curved(x, times[i : i + 1]))
    torch.testing.assert_close(SAMPLERS["dpm_solver"](curved, path, start, times), theirs, rtol=1e-4, atol=1e-4)


def published_third_order(predict, path, noise, times):
    """U-ViT's DPM_Solver with predict_x0 on 3k + 2 steps, restated: orders 3, …, 3, 2 and DPM-Solver's own names."""

    def at(k):
        return path.alpha(times[k]), path.sigma(times[k]), path.log_snr(times[k]) / 2

    def data(x, k):
        t = times[k].expand(len(x))
        return path.as_data(predict(x, t), x, t)

    x, s = noise, 0
    for order in [3] * ((len(times) - 1) // 3) + [2]:
        t = s + order
        (_, sigma_s, lambda_s), (alpha_t, sigma_t, lambda_t) = at(s), at(t)
        alpha_1, sigma_1, lambda_1 = at(s + 1)
        h, x_s, data_s = lambda_t - lambda_s, x, data(x, s)
        r1, phi_1 = (lambda_1 - lambda_s) / h, torch.expm1(-h)
        data_1 = data(sigma_1 / sigma_s * x_s - alpha_1 * torch.expm1(-r1 * h) * data_s, s + 1)
        x = sigma_t / sigma_s * x_s - alpha_t * phi_1 * data_s
        if order == 2:
            x = x - 0.5 / r1 * alpha_t * phi_1 * (data_1 - data_s)
        else:
            alpha_2, sigma_2, lambda_2 = at(s + 2)
            r2 = (lambda_2 - lambda_s) / h
            phi_12 = torch.expm1(-r2 * h)
            x_2 = sigma_2 / sigma_s * x_s - alpha_2 * phi_12 * data_s
            x_2 = x_2 + r2 / r1 * alpha_2 * (phi_12 / (r2 * h) + 1) * (data_1 - data_s)
            x = x + 1 / r2 * alpha_t * (phi_1 / h + 1) * (data(x_2, s + 2) - data_s)
        s = t
    return x


@pytest.mark.parametrize("n_steps", [5, 20, 50])
def test_dpm_solver_3_is_the_published_solver(n_steps, start):
    path = Path("stable_diffusion", "noise")
    times = time_grid(path, n_steps, end=0.001)
    theirs = published_third_order(curved, path, start, times)
    torch.testing.assert_close(SAMPLERS["dpm_solver_3"](curved, path, start, times), theirs, rtol=1e-10, atol=1e-10)


def singlestep_difference(order, n_steps, start):
    """Largest difference of dpm_solver_3 from diffusers' single-step scheduler of an order, at its times."""
    scheduler = DPMSolverSinglestepScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        solver_order=order,
        final_sigmas_type="sigma_min",
        lower_order_final=n_steps % order > 0,
    )
    scheduler.set_timesteps(n_steps)
    times = torch.cat([(scheduler.timesteps.double() + 1) / 1000, torch.tensor([0.001], dtype=torch.float64)])
    theirs = walked(scheduler, start, lambda x, i: curved(x, times[i : i + 1]))
    ours = SAMPLERS["dpm_solver_3"](curved, Path("stable_diffusion", "noise"), start, times)
    return float((ours - theirs).abs().max())


def test_dpm_solver_3_approaches_diffusers_single_step(start):
    """Two or four steps are of second order in both; in third, the second evaluation is at another state."""
    assert max(singlestep_difference(2, n_steps, start) for n_steps in (2, 4)) < 2e-5
    coarse, fine = (singlestep_difference(3, n_steps, start) for n_steps in (50, 98))
    assert fine < min(coarse / 6, 2e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_and_time_grid_agree_with_diffusers(shift, start):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=between(1, 0, 16)[:-1].tolist())
    times = time_grid(Path(), 16, shift)
    torch.testing.assert_close(scheduler.sigmas.double(), times, rtol=1e-6, atol=1e-7)
    theirs = walked(scheduler, start.float(), lambda x, i: curved(x, times[i : i + 1].float()))
    torch.testing.assert_close(SAMPLERS["euler"](curved, Path(), start.float(), times), theirs, rtol=1e-5, atol=1e-5)


def test_heun_agrees_with_diffusers(start):
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(16)
    sigmas = scheduler.sigmas.double()
    times = torch.cat([sigmas[:1], sigmas[1:-1:2], sigmas[-1:]])
    asked = evaluation_times("heun", times)
    theirs = walked(scheduler, start.float(), lambda x, i: curved(x, torch.tensor(asked[i : i + 1])))
    torch.testing.assert_close(SAMPLERS["heun"](curved, Path(), start.float(), times), theirs, rtol=1e-5, atol=1e-5)


# What is refused


@every_sampler
def test_samplers_refuse_times_that_do_not_decrease(name, start):
    for times in ([0.0, 1.0], [1.0], [1.0, 0.5, 0.5], [0.5, -0.1], [0.5, math.nan]):
        with pytest.raises(ValueError, match="decreasing towards 0"):
            SAMPLERS[name](curved, Path(), start, torch.tensor(times), lambda step: start)
    with pytest.raises(ValueError, match=r"a noise prediction on the linear path .* start at 0\.999 at most"):
        SAMPLERS[name](curved, Path("linear", "noise"), start, between(1, 0, 4), lambda step: start)
    with pytest.raises(ValueError, match=r"the noise is torch\.bfloat16"):
        SAMPLERS[name](curved, Path(), start.bfloat16(), between(1, 0, 4), lambda step: start)


def test_samplers_refuse_impossible_arguments(start):
    with pytest.raises(ValueError, match="needs fresh noise"):
        SAMPLERS["euler_maruyama"](curved, Path(), start, between(1, 0, 4))
    with pytest.raises(ValueError, match="at least one step, got 0"):
        time_grid(Path(), 0)
    with pytest.raises(ValueError, match="positive shift, got 0"):
        time_grid(Path(), 4, shift=0.0)
    for n_steps, last_step in ((4, 1.0), (4, -0.1), (1, 0.04)):
        with pytest.raises(ValueError, match="expected a last step"):
            time_grid(Path(), n_steps, last_step=last_step)


def test_time_grid_ends_with_the_published_step():
    published = torch.cat([torch.linspace(1.0, 0.04, 250, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    torch.testing.assert_close(time_grid(Path(), 250, last_step=0.04), published)
    assert torch.equal(time_grid(Path(), 8, last_step=1 / 8), time_grid(Path(), 8))


def test_time_grid_ends_where_it_is_told():
    torch.testing.assert_close(time_grid(Path(), 50, end=0.001), between(1, 0.001, 50))
    path = Path("linear", "noise")
    grid = time_grid(path, 10, shift=3.0, end=0.2)
    assert (float(grid[0]), float(grid[-1])) == (path.ends[1], 0.2)
    assert (grid.diff() < 0).all()
    for change in ({"end": -0.1}, {"end": 0.999}, {"end": math.nan}, {"end": 0.1, "last_step": 0.1}):
        with pytest.raises(ValueError, match=r"expected an end from 0 to below 0\.999"):
            time_grid(path, 10, **change)


def test_time_grid_starts_at_path_ends():
    for kind, prediction in product(KINDS, ["velocity", "noise", "data"]):
        path = Path(kind, prediction)
        grid = time_grid(path, 10, shift=3.0)
        assert grid[0] == path.ends[1]
        assert grid[-1] == 0
        assert all(later < earlier for earlier, later in pairwise(grid.tolist()))
