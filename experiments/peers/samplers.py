"""Samplers from the same noise, with the same draws and network: SiT, REPA, LightningDiT, U-ViT; diffusers' solver."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DPMSolverSinglestepScheduler
from torch import Tensor

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.diffusion import SAMPLERS, Path, by_steps, guided, is_guided, time_grid

SHAPE = (8, 5, 4, 4)  # five channels: more than the three that SiT and LightningDiT guide
SCALE, INTERVAL = 1.8, (0.0, 0.7)
STEPS = 250
STD = 0.5


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    return [*sit(checkouts), *repa(checkouts), *last_steps(checkouts), *lightningdit(checkouts), *uvit(checkouts)]


def velocity(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """Return a smooth, bounded velocity that depends on the label, −1 for none, alike for every split into batches."""
    t = t.view(-1, 1, 1, 1)
    shift = 0.0 if labels is None else 0.3 * (labels + 1).view(-1, 1, 1, 1)
    return torch.tanh(x * (0.5 + t) + shift) + 0.2 * t * x.roll(1, -1)


def denoiser(x: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None) -> tuple[Tensor, None]:
    """As a `Denoiser`."""
    return velocity(x, t, labels), None


def as_theirs(x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, None]:
    """As REPA calls a network: 1000 is the class for none."""
    return velocity(x, t, torch.where(y == 1000, -1, y)), None


def drawn(seed: int, n: int) -> Callable[[int], Tensor]:
    """Return the n draws that a peer takes one after the other from the global generator."""
    torch.manual_seed(seed)
    draws = [torch.randn(SHAPE, dtype=torch.float64) for _ in range(n)]
    return lambda step: draws[step]


def sit(checkouts: Checkouts) -> list[Row]:
    """Compare SiT's SDE sampler with the last step "Mean", its Euler and Heun, and the guidance of its network."""
    with checkouts.at("SiT") as load:
        module = load("transport")
    noise, path, made = torch.randn(SHAPE, dtype=torch.float64), Path(), []
    their = module.Sampler(module.create_transport("Linear", "velocity"))
    model = lambda x, t: -velocity(x, 1 - t, None)  # noqa: E731
    draw = randn32(11, STEPS)
    torch.manual_seed(11)
    final = their.sample_sde(diffusion_form="sigma", last_step="Mean", last_step_size=0.04, num_steps=STEPS)(
        noise, model
    )
    predict = guided(denoiser, None)
    grid = time_grid(path, STEPS, last_step=0.04)
    ours = SAMPLERS["euler_maruyama_mean"](predict, path, noise, grid, draw)
    made.append(compared("sit_sde", "SiT", "SiT's SDE, 250 evaluations, last step Mean", [(ours, final[-1])]))
    for name, method in (("euler", "euler"), ("heun", "heun2")):
        end = their.sample_ode(sampling_method=method, num_steps=51)(noise, model)[-1]
        # SiT's Heun corrects its last step at t = 0; ours ends with Euler, so the last step is left out.
        if name == "euler":
            made.append(
                compared(
                    f"sit_{name}",
                    "SiT",
                    "SiT's Euler: 51 times are 50 steps",
                    [(SAMPLERS[name](predict, path, noise, time_grid(path, 50)), end)],
                )
            )
        else:
            mine = SAMPLERS[name](predict, path, noise, time_grid(path, 50))
            made.append(
                Row(
                    "sit_heun",
                    "SiT",
                    "Heun: SiT corrects its last step at t = 0 too",
                    values={"largest": float((mine - end).abs().max())},
                )
            )
    half = torch.tensor(0.5, dtype=torch.float64)
    cosine = Path("cosine").coefficients(half)
    values = {"sit_sigma": 2 * float(cosine.sigma), "repa": 1.0, "ours": 2 * float(cosine.rate * cosine.sigma)}
    made.append(Row("sde_cosine", "SiT, REPA", "g² of the SDE on the cosine path at t = 0.5", values=values))
    return made


def randn32(seed: int, n: int) -> Callable[[int], Tensor]:
    """Return the n draws of SiT, which are float32."""
    torch.manual_seed(seed)
    draws = [torch.randn(SHAPE) for _ in range(n)]
    return lambda step: draws[step]


def repa(checkouts: Checkouts) -> list[Row]:
    """Compare REPA's Euler, Heun and Euler–Maruyama, with guidance in an interval, on both paths."""
    with checkouts.at("REPA") as load:
        theirs = load("samplers")
    noise, labels = torch.randn(SHAPE, dtype=torch.float64), torch.arange(len(torch.empty(SHAPE)))
    bound = guided(denoiser, labels, SCALE, INTERVAL)
    always, never = guided(denoiser, labels, SCALE), guided(denoiser, labels)
    options = {"cfg_scale": SCALE, "guidance_low": INTERVAL[0], "guidance_high": INTERVAL[1]}
    odes, sdes, values = [], [], {}
    path, grid = Path(), time_grid(Path(), 50)
    for name in ("euler", "heun"):
        end = theirs.euler_sampler(as_theirs, noise, labels, num_steps=50, heun=name == "heun", **options)
        mine = by_steps(SAMPLERS[name], lambda t: always if is_guided(t, INTERVAL) else never, path, noise, grid)
        odes.append((mine, end))
        values[name] = float((SAMPLERS[name](bound, path, noise, grid) - end).abs().max())
    for n_steps in (20, STEPS):
        draw = drawn(3, n_steps)
        torch.manual_seed(3)
        end = theirs.euler_maruyama_sampler(as_theirs, noise, labels, num_steps=n_steps, **options)
        times = time_grid(path, n_steps, last_step=0.04)
        sdes.append((SAMPLERS["euler_maruyama_mean"](bound, path, noise, times, draw), end))
    return [
        compared("repa_ode", "REPA", "REPA's Euler and Heun, guided up to 0.7, `guidance_by step`", odes),
        compared("repa_sde", "REPA", "REPA's SDE, guided up to 0.7, 20 and 250 evaluations", sdes),
        Row(
            "heun_interval", "REPA", "default `guided` in an interval against REPA's, largest difference", values=values
        ),
    ]


def last_steps(checkouts: Checkouts) -> list[Row]:
    """Compute the standard deviation that each last step gives Gaussian data of std 0.5, without sampling.

    With the exact velocity the result is linear in the noise and the draws: rows of unit inputs give its coefficients.
    """
    with checkouts.at("REPA") as load:
        theirs = load("samplers")
    path = Path()

    def exact(x: Tensor, t: Tensor) -> Tensor:
        along = path.coefficients(t.view(-1, 1, 1, 1))
        variance = (along.alpha * STD).square() + along.sigma.square()
        return x * (along.alpha * along.alpha_slope * STD**2 + along.sigma * along.sigma_slope) / variance

    units = torch.eye(STEPS, dtype=torch.float64).view(STEPS, STEPS, 1, 1)  # row: input; channel: which of them
    start = units[0][None].expand(1, -1, -1, -1)
    grid, stds = time_grid(path, STEPS, last_step=0.04), {}
    for name in ("euler_maruyama", "euler_maruyama_mean"):
        end = SAMPLERS[name](exact, path, start.contiguous(), grid, lambda step: units[step + 1][None])
        stds[name] = float(end.square().sum().sqrt())
    counter = iter(range(1, STEPS))
    original, theirs.torch.randn_like = torch.randn_like, lambda x: units[next(counter)][None]
    try:
        end = theirs.euler_maruyama_sampler(lambda x, t, y: (exact(x, t),), start, None, num_steps=STEPS)
    finally:
        torch.randn_like = original
    stds["theirs"] = float(end.square().sum().sqrt())
    return [Row("last_step", "REPA", "std of samples of Gaussian data of std 0.5", values=stds)]


def lightningdit(checkouts: Checkouts) -> list[Row]:
    """Compare LightningDiT's Euler with shifted times, the first three channels guided in an interval."""
    absent = ("fairscale.nn.model_parallel.initialize", "fairscale.nn.model_parallel.layers")
    with checkouts.at("LightningDiT", absent=absent) as load:
        module = load("transport")
        model = load("models.lightningdit")
    sampler = module.Sampler(module.create_transport("Linear", "velocity"))
    noise, labels = torch.randn(SHAPE, dtype=torch.float64), torch.arange(SHAPE[0])
    end = sampler.sample_ode(sampling_method="euler", num_steps=STEPS, timestep_shift=0.3)

    class Own:
        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return -velocity(x, 1 - t, torch.where(y == 1000, -1, y))

    guide = model.LightningDiT.forward_with_cfg
    both, kwargs = torch.cat([noise, noise]), {"cfg_scale": 6.7, "cfg_interval": True, "cfg_interval_start": 0.125}
    y = torch.cat([labels, torch.full_like(labels, 1000)])
    theirs = end(both, lambda x, t, **k: guide(Own(), x, t, **k), y=y, **kwargs)[-1][: len(noise)]
    predict = guided(denoiser, labels, 6.7, (0.0, 0.875), channels=3)
    grid = time_grid(Path(), STEPS - 1, 1 / 0.3)
    ours = SAMPLERS["euler"](predict, Path(), noise, grid)
    return [
        compared(
            "lightningdit_sampling",
            "LightningDiT",
            "LightningDiT's Euler, protocol `lightningdit_800`",
            [(ours, theirs)],
        )
    ]


def uvit(checkouts: Checkouts) -> list[Row]:
    """Compare U-ViT's solver with ours and with diffusers' single-step scheduler, at 50 evaluations of one network."""
    absent = ("absl", "ml_collections", "wandb", "libs.autoencoder", "tools.fid_score")
    with checkouts.at("U-ViT", absent=absent) as load:
        training, solver = load("train_ldm_discrete"), load("dpm_solver_pp")
    betas = torch.tensor(training.stable_diffusion_beta_schedule())
    schedule = solver.NoiseScheduleVP("discrete", betas=betas)
    noise, path = torch.randn(SHAPE, dtype=torch.float64), Path("stable_diffusion", "noise")
    seen: dict[str, list[float]] = {"theirs": [], "diffusers": [], "ours": []}  # times of evaluations

    def eps(name: str, x: Tensor, t: Tensor) -> Tensor:
        seen[name].append(float(t.flatten()[0]))
        return 0.8 * x + 0.2 * velocity(x, t.expand(len(x)), None)

    theirs = solver.DPM_Solver(lambda x, t: eps("theirs", x, t), schedule, predict_x0=True)
    end = theirs.sample(noise, steps=50, eps=1 / 1000, T=1.0).double()
    fine = solver.DPM_Solver(lambda x, t: eps("theirs", x, t), schedule, predict_x0=True)
    times = list(seen["theirs"])
    limit = fine.sample(noise, steps=2000, eps=1 / 1000, T=1.0).double()
    values: dict[str, Any] = {"theirs_to_limit": gap(end, limit)}
    for solver_type in ("midpoint", "heun"):
        scheduler = DPMSolverSinglestepScheduler(
            trained_betas=betas.numpy(),
            solver_order=3,
            solver_type=solver_type,
            final_sigmas_type="sigma_min",
            lower_order_final=True,
        )
        scheduler.set_timesteps(50)
        seen["diffusers"].clear()
        x = noise.clone()
        for t in scheduler.timesteps:
            x = scheduler.step(eps("diffusers", x, (t + 1).double() / 1000), t, x).prev_sample
        values[f"diffusers_{solver_type}"] = gap(x, end)
        values[f"diffusers_{solver_type}_to_limit"] = gap(x, limit)
    pairs = zip(seen["diffusers"], times, strict=True)
    values["diffusers_times"] = max(abs(a - b) for a, b in pairs)
    grid = time_grid(path, 50, end=0.001)
    for name, key in (("dpm_solver", "second_order"), ("dpm_solver_3", "ours")):
        x = SAMPLERS[name](lambda x, t: eps("ours", x, t), path, noise, grid)
        values |= {key: gap(x, end), f"{key}_to_limit": gap(x, limit)}
    what = "U-ViT's solver on latents, protocol `uvit_imagenet`"
    return [
        compared("uvit_sampling", "U-ViT", what, [(x, end), (grid, torch.linspace(1, 0.001, 51))]),
        Row("uvit_solver", "U-ViT", "rms difference from U-ViT's samples at t = 0.001, 50 evaluations", values=values),
    ]


def gap(x: Tensor, y: Tensor) -> float:
    """Return the root of the mean squared difference."""
    return float((x - y).square().mean().sqrt())
