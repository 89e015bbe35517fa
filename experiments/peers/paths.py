"""Paths, targets, weightings, times and the losses of training: SiT's transport, LightningDiT's, REPA, iREPA, U-ViT."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.diffusion import Path, Times, diffusion_loss, time_grid
from spectrum_matching.diffusion.alignment import Alignment, SpatialNormalisation, Unfiltered
from spectrum_matching.diffusion.projectors import PerceptronProjector

SIT_PATHS = {"Linear": "linear", "GVP": "cosine", "VP": "vp"}
SHAPE = (4, 3, 4, 4)
N = 64


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    return [*transport(checkouts), *vp(checkouts), *discrete(checkouts), *times(checkouts), *alignment(checkouts)]


class Network(nn.Module):
    """A small network of a kind that takes any channels, in float64, with the peers' and our way to be called."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(channels + 1, 16, 3, padding=1), nn.Conv2d(16, channels, 3, padding=1)
        self.double()

    def predict(self, noisy: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return a prediction, and 16 channels before it."""
        level = t.view(-1, 1, 1, 1).expand(-1, 1, *noisy.shape[2:])
        tokens = torch.tanh(self.first(torch.cat([noisy, level], 1).double()))
        return self.last(tokens), tokens

    def ours(self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None) -> tuple[Tensor, Tensor]:
        """As a `Denoiser`."""
        prediction, tokens = self.predict(noisy, t)
        return prediction, tokens.flatten(2).mT

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of all weights as one vector."""
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(self.parameters()), allow_unused=True)])


def transport(checkouts: Checkouts) -> list[Row]:
    """Compare SiT's transport on its three paths: x_t, targets, losses, gradients, weightings, conversions.

    Its t runs from noise to data, so its velocity is minus ours.
    """
    with checkouts.at("SiT") as load:
        module = load("transport")
    data, noise = torch.randn(2, N, 3, 4, 4, dtype=torch.float64)
    made, ends = [], {}
    for theirs, kind in SIT_PATHS.items():
        t = torch.linspace(0.02, 0.98, N, dtype=torch.float64)
        path, plan = Path(kind), module.create_transport(theirs).path_sampler
        _, mixed, target = plan.plan(1 - t, noise, data)
        what = f"SiT's {theirs}"
        pairs = [(path.mix(data, noise, t), mixed), (-path.target(data, noise, t), target)]
        made.append(compared(f"sit_{kind}_target", "SiT", f"{what}: x_t and velocity", pairs))
        converted = [
            (path.score(-target, mixed, t), plan.get_score_from_velocity(target, mixed, 1 - t)),
            (path.as_noise(-target, mixed, t), plan.get_noise_from_velocity(target, mixed, 1 - t)),
            (
                -Path(kind, "noise").as_velocity(noise, mixed, t),
                plan.get_velocity_from_score(path.score(-target, mixed, t), mixed, 1 - t),
            ),
        ]
        made.append(compared(f"sit_{kind}_conversions", "SiT", f"{what}: velocity to score, noise and back", converted))
        for prediction, weight in (("velocity", None), ("noise", None), ("noise", "velocity")):
            their = module.create_transport(theirs, prediction, weight)
            first, last = their.check_interval(their.train_eps, their.sample_eps)
            of = dict(zip(("lowest", "highest"), Path(kind, prediction).ends, strict=True))
            ends[f"{kind}_{prediction}"] = {"theirs": {"lowest": 1 - last, "highest": 1 - first}, "ours": of}
            pairs = sit_losses(their, Path(kind, prediction), data, weighted=weight is not None)
            name = f"{prediction}{', weighted as velocity' if weight else ''}"
            key = f"sit_{kind}_{prediction}{'_weighted' if weight else ''}_loss"
            made.append(compared(key, "SiT", f"{what}: loss of {name}, and gradient", pairs))
    return [*made, Row("train_ends", "SiT", "smallest and largest t in training", values=ends)]


def sit_losses(theirs: Any, path: Path, data: Tensor, weighted: bool) -> list[tuple[Tensor, Tensor]]:
    """Return losses by image and gradients, ours and theirs, with our draws of t and noise.

    weighted: theirs by its "velocity" weighting, which makes of the squared error of noise that of the velocity.
    """
    torch.manual_seed(1)
    network, generator = Network(), torch.Generator().manual_seed(2)
    loss = diffusion_loss(network.ours, path, data, None, times=Times(), generator=generator)
    noise = torch.Generator().manual_seed(2)
    Times().draw(len(data), noise)
    eps = torch.randn(data.shape, dtype=data.dtype, generator=noise)
    t = loss.t.double()
    theirs.sample = lambda x1: (1 - t, eps, x1)
    sign = -1 if path.prediction == "velocity" else 1
    terms = theirs.training_losses(lambda x, s: sign * network.predict(x, 1 - s)[0], data)["loss"]
    mine = loss.per_image
    total = loss.total
    if weighted:
        velocity, noisy = Path(path.kind), path.mix(data, eps, t)
        error = path.as_velocity(network.predict(noisy, t)[0], noisy, t) - velocity.target(data, eps, t)
        mine = error.square().flatten(1).mean(1)
        total = mine.mean()
    return [(mine, terms), (network.gradient(total), network.gradient(terms.mean()))]


def vp(checkouts: Checkouts) -> list[Row]:
    """Compare U-ViT's variance-preserving SDE in continuous time."""
    with checkouts.at("U-ViT", absent=("utils",)) as load:
        module = load("sde")
    sde, path, t = module.VPSDE(), Path("vp", "noise"), torch.linspace(0.01, 1, N, dtype=torch.float64)
    x, noise = torch.randn(2, N, 3, 4, 4, dtype=torch.float64)
    model = module.ScoreModel(lambda x, t: noise, "noise_pred", sde)
    pairs = [
        (path.alpha(t).square(), sde.cum_alpha(t)),
        (path.sigma(t).square(), sde.cum_beta(t)),
        (path.as_velocity(noise, x, t), module.ODE(model).drift(x, t)),
    ]
    return [compared("uvit_vp", "U-ViT", "U-ViT's VP: α², σ², drift of the ODE", pairs)]


def discrete(checkouts: Checkouts) -> list[Row]:
    """Compare U-ViT's discrete schedule, its interpolation between steps, and its loss of noise prediction."""
    absent = ("absl", "ml_collections", "wandb", "libs.autoencoder", "tools.fid_score")
    with checkouts.at("U-ViT", absent=absent) as load:
        training, solver = load("train_ldm_discrete"), load("dpm_solver_pp")
    betas = training.stable_diffusion_beta_schedule()
    theirs, path = training.Schedule(betas), Path("stable_diffusion", "noise")
    steps = torch.arange(1, 1001, dtype=torch.float64) / 1000
    on_steps = [(path.alpha(steps), theirs.cum_alphas[1:] ** 0.5), (path.sigma(steps), theirs.cum_betas[1:] ** 0.5)]
    between = solver.NoiseScheduleVP("discrete", betas=torch.tensor(betas))
    t = torch.linspace(0.0015, 0.9995, 501, dtype=torch.float64)
    continuous = [(path.log_snr(t) / 2, between.marginal_lambda(t))]
    torch.manual_seed(3)
    network, data = Network(), torch.randn(N, 3, 4, 4, dtype=torch.float64)
    np.random.seed(0)
    their_loss = training.LSimple(data, lambda x, n: network.predict(x, n / 1000)[0], theirs)
    torch.manual_seed(3)
    Network(), torch.randn(N, 3, 4, 4, dtype=torch.float64)
    np.random.seed(0)
    n = np.random.choice(list(range(1, 1001)), (N,))
    eps, level = torch.randn_like(data), torch.tensor(n) / 1000
    error = network.predict(path.mix(data, eps, level.double()), level)[0] - path.target(data, eps, level)
    loss = error.square().flatten(1).mean(1)
    half = {"stable_diffusion": float(path.alpha(torch.tensor(0.5))), "vp": float(Path("vp").alpha(torch.tensor(0.5)))}
    return [
        compared("uvit_schedule", "U-ViT", "U-ViT's 1,000 steps: α, σ", on_steps),
        compared("uvit_between", "U-ViT", "U-ViT's steps: log(α/σ) in between", continuous),
        compared(
            "uvit_loss",
            "U-ViT",
            "U-ViT's loss of noise prediction, and gradient",
            [(loss, their_loss), tuple(network.gradient(each.mean()) for each in (loss, their_loss))],
        ),
        Row("alpha_half", "U-ViT", "α at t = 0.5 on two paths", values=half),
    ]


def times(checkouts: Checkouts) -> list[Row]:
    """Compare grids of times and draws of t."""
    with checkouts.at("LightningDiT") as load:
        lightning = load("transport")
        integrators = load("transport.integrators")
    shifted = integrators.ode(None, t0=0, t1=1, sampler_type="euler", num_steps=250, atol=0, rtol=0, timestep_shift=0.3)
    grid = time_grid(Path(), 249, 1 / 0.3)
    z = torch.randn(N, generator=torch.Generator().manual_seed(0))
    their = lightning.create_transport("Linear", "velocity", use_lognorm=True)
    with checkouts.at("LightningDiT") as load:
        module = load("transport.transport")
        module.norm = SimpleNamespace(rvs=lambda loc, scale, size: (loc + scale * z.double()).numpy())
        drawn = module.Transport.sample_logit_normal(their, 0, 1, N)
    ours = Times("log_normal").draw(N, torch.Generator().manual_seed(0))
    with checkouts.at("REPA") as load:
        loss = load("loss")
    cosine = {"ours": [], "theirs": []}
    pairs = []
    for kind, name in (("linear", "log_normal"), ("cosine", "log_normal_angle")):
        seen: list[Tensor] = []
        images = torch.zeros(4096, 1, 1, 1)
        torch.manual_seed(5)
        si = loss.SILoss(path_type=kind, weighting="lognormal")
        si(lambda x, t, seen=seen: (seen.append(t), (x, []))[1], images, zs=[torch.zeros(1, 1, 1)])
        pairs.append((Times(name).draw(4096, torch.Generator().manual_seed(5)), seen[0]))
        if kind == "cosine":
            cosine = {"theirs": seen[0], "ours": Times("log_normal").draw(4096, torch.Generator().manual_seed(5))}
    exact = torch.tensor(0.05, dtype=torch.float64)
    z05 = math.sqrt(2) * float(torch.erfinv(2 * exact - 1))
    values = {
        "log_normal_angle": 2 / math.pi * math.atan(math.exp(z05)),
        "log_normal": 1 / (1 + math.exp(-z05)),
        "drawn": {name: float(t.quantile(0.05)) for name, t in cosine.items()},
    }
    return [
        compared("lightningdit_grid", "LightningDiT", "LightningDiT's shifted times", [(grid, 1 - shifted.t)]),
        compared("lightningdit_times", "LightningDiT", "LightningDiT's log-normal times", [(ours, drawn)]),
        compared("repa_times", "REPA", "REPA's log-normal times on both paths", pairs),
        Row("log_normal_quantiles", "REPA", "t at quantile 0.05 on the cosine path", values=values),
    ]


def alignment(checkouts: Checkouts) -> list[Row]:
    """Compare the losses of REPA and iREPA, denoising and alignment, with one network and projector."""
    data, targets = torch.randn(N, 3, 4, 4, dtype=torch.float64), torch.randn(N, 16, 24, dtype=torch.float64)
    torch.manual_seed(0)
    network, projector = Network(), PerceptronProjector(16, 24, 32).double()
    parameters = [*network.parameters(), *projector.parameters()]
    with checkouts.at("REPA") as load:
        repa = load("loss").SILoss
    with checkouts.at("iREPA/ldm", absent=("clip",)) as load:
        irepa, normalise = load("loss").SILoss, load("utils").spatial_zscore
    cases = []
    for kind in ("linear", "cosine"):
        for peer, alpha in (("REPA", None), ("iREPA", 0.6)):
            z = targets if alpha is None else normalise(targets, alpha)
            torch.manual_seed(7)

            def model(x: Tensor, t: Tensor, rest: tuple[Any, ...] = () if peer == "REPA" else ([None],)) -> Any:
                prediction, tokens = network.predict(x, t)
                return prediction, [projector.layers(tokens.flatten(2).mT)], *rest

            si = repa(path_type=kind) if peer == "REPA" else irepa(path_type=kind, proj_coeff="1.0")
            denoising, projection, *_ = si(model, data, zs=[z])
            loss, mine = our_alignment(network, projector, Path(kind), data, targets, alpha)
            both = [(loss.per_image, denoising), (mine, projection)]
            totals = (loss.total + 0.5 * mine, denoising.mean() + 0.5 * projection)
            slopes = (torch.autograd.grad(total, parameters) for total in totals)
            both.append(tuple(torch.cat([g.flatten() for g in each]) for each in slopes))
            cases.append((peer, both))
    return [
        compared(
            f"{peer.lower()}_loss",
            peer,
            f"{peer}: loss, alignment and gradient",
            [pair for name, pairs in cases if name == peer for pair in pairs],
        )
        for peer in ("REPA", "iREPA")
    ]


def our_alignment(
    network: Network, projector: nn.Module, path: Path, data: Tensor, targets: Tensor, alpha: float | None
) -> tuple[Any, Tensor]:
    """Return our denoising loss and alignment, with the draws of a seed that theirs takes in the same order."""
    generator = torch.Generator().manual_seed(7)
    loss = diffusion_loss(network.ours, path, data, None, times=Times(), generator=generator)
    target_filter = Unfiltered() if alpha is None else SpatialNormalisation(alpha, "empirical")
    field = targets.mT.unflatten(2, (4, 4))
    return loss, Alignment(projector, target_filter)(loss.tokens, (4, 4), field)
