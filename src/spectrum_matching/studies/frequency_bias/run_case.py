"""One case of the frequency-bias study: train a denoiser and measure what it gets wrong by band."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path as File

import torch
from torch import Tensor, nn

from ...diffusion import SAMPLERS, Denoiser, Path, SampleNoise, Times, diffusion_loss, time_grid
from ...files.atomic import explain_write_errors
from ...files.checkpoints import read_checkpoint, write_checkpoint
from ...nets.denoiser.build import build_denoiser
from ...records.provenance import provenance
from ...seeding import seeded
from ...spectrum.power import RadialBins
from ...training.optimization import set_learning_rate
from . import band_errors
from .band_errors import band_sums, coefficient_power, radial_bands
from .fields import Fields, coefficient_frequencies, coefficient_moments, wiener_denoiser
from .perception import sensitivity_weights
from .plans import CaseSpec, FrequencyPlan
from .record import Case, EvalPoint, NoiseLevel

BATCH_SIZE, CLIP = 64, 1.0
CHECKPOINT_EVERY = 1000  # updates, and at every evaluation


def run_case(
    plan: FrequencyPlan,
    name: str,
    seed: int,
    fields: Fields,
    device: torch.device,
    checkpoint: File,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Case:
    """Train and measure one case. The same seed gives the same numbers on one machine.

    checkpoint: folder in which an interrupted training is kept, and from which it resumes. progress: called with the
    number of updates done and their total.
    """
    spec = plan.cases[name]
    path = Path(plan.path, spec.prediction or plan.prediction)
    shape = (fields.train.shape[1], fields.train.shape[2], fields.train.shape[3])
    bands = radial_bands(shape[1:], plan.bands)
    train_power, power = coefficient_power(fields.train), coefficient_power(fields.test)
    choice = plan.latent_denoiser if spec.data == "latents" else plan.denoiser
    network = build_denoiser(choice, shape[0], shape[1:], seed=seed, time_scale=1000.0).to(device)
    weights = loss_weights(spec, bands, train_power)
    test, noise = fields.test.to(device), band_errors.held_out_noise(fields.test).to(device)

    def measure(denoiser: Denoiser) -> Tensor:
        return band_errors.squared_errors(denoiser, path, test, noise, plan.times, BATCH_SIZE, plan.autocast)

    def evaluate() -> Tensor:
        return band_sums(measure(network), bands).mean(0)

    train = fields.train.to(device)
    evals = train_and_evaluate(network, path, train, plan, seed, weights, evaluate, checkpoint, progress)
    wiener = wiener_denoiser(coefficient_moments(fields.train), path)
    errors, wiener_errors = measure(network), measure(wiener)
    is_image = spec.data == "images"
    csf = sensitivity_weights(*shape[1:], plan.pixels_per_degree, spec.delta) if is_image else None
    even, factors = torch.ones_like(power), band_errors.loss_factors(path, plan.times).tolist()
    samples, wiener_samples = (draw_samples(denoiser, path, plan, shape, device) for denoiser in (network, wiener))
    levels = [
        NoiseLevel(
            time=t,
            loss_factor=factor,
            wiener_errors=tuple(band_sums(linear, bands).tolist()),
            relative_error=weighted_ratio(error, power, even),
            wiener_relative_error=weighted_ratio(linear, power, even),
            csf_error=None if csf is None else weighted_ratio(error, power, csf),
            wiener_csf_error=None if csf is None else weighted_ratio(linear, power, csf),
        )
        for t, factor, error, linear in zip(plan.times, factors, errors.mean(0), wiener_errors.mean(0), strict=True)
    ]
    table = band_errors.band_table(
        evals,
        levels,
        bands,
        band_sums(power, bands),
        band_errors.jackknife_ratios(band_sums(errors, bands), band_sums(wiener_errors, bands)),
        *(band_sums(coefficient_power(x), bands) / band_sums(train_power, bands) for x in (samples, wiener_samples)),
    )
    return Case(
        name=name,
        seed=seed,
        space="latents" if spec.data == "latents" else "pixels",
        shape=shape,
        denoiser=choice,
        n_parameters=sum(weight.numel() for weight in network.parameters()),
        bands=table,
        rank_correlation=band_errors.rank_correlations(table),
        levels=tuple(levels),
        evals=tuple(evals),
        provenance=provenance(device, torch.bfloat16 if plan.autocast else torch.float32, seed),
    )


def train_and_evaluate(
    network: nn.Module,
    path: Path,
    data: Tensor,
    plan: FrequencyPlan,
    seed: int,
    weights: Tensor | None,
    evaluate: Callable[[], Tensor],
    checkpoint: File,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[EvalPoint]:
    """Train a network on data (n, c, h, w) on its device, and evaluate it at `eval_steps`.

    AdamW without weight decay; the learning rate rises over the warm-up and falls to 0 along half a cosine. Batches,
    times and noise are a function of (seed, update), so that a resumed training gives the same numbers. weights (h, w):
    of squared DCT errors, None for the plain loss. evaluate: returns errors (levels, bands), in eval mode.

    Raises:
        ValueError: if errors are not finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=0.0)
    evals: list[EvalPoint] = []
    done, steps = -1, eval_steps(plan.steps, plan.eval_points)
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, f"delete {checkpoint} to train the case again", data.device)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        done, evals = state["step"], [EvalPoint(**point) for point in state["evals"]]
    for stop in sorted({*steps, *range(CHECKPOINT_EVERY, plan.steps, CHECKPOINT_EVERY)}):
        if stop <= done:
            continue
        network.train()
        for step in range(max(done, 0), stop):
            decay = (1 + math.cos(math.pi * step / plan.steps)) / 2
            set_learning_rate(optimizer, plan.learning_rate * decay, step, plan.warmup)
            generator = seeded("frequency bias", seed, step)
            batch = data[torch.randint(len(data), (plan.batch_size,), generator=generator).to(data.device)]
            with torch.autocast(data.device.type, torch.bfloat16, enabled=plan.autocast):
                loss = diffusion_loss(
                    network, path, batch, None, times=StratifiedTimes(), generator=generator, spectral_weights=weights
                )
            optimizer.zero_grad()
            loss.total.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
        network.eval()
        done = stop
        if stop in steps:
            errors = evaluate()
            if not errors.isfinite().all():
                raise ValueError(f"errors are not finite at update {stop}: lower learning_rate")
            evals.append(EvalPoint(stop, tuple(map(tuple, errors.tolist()))))
        if stop < plan.steps:  # the last update is reported once the case is measured
            progress(stop, plan.steps)
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": stop}
        with explain_write_errors(f"the checkpoint {checkpoint}"):
            write_checkpoint(checkpoint, state | {"evals": [asdict(point) for point in evals]})
    network.eval()
    return evals


class StratifiedTimes(Times):
    """One uniform t in each of n equal parts of (0, 1): errors differ far more between levels than between images."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Return (n,) float32 on the CPU, ascending."""
        return (torch.arange(n) + torch.rand(n, generator=generator)) / n


def eval_steps(steps: int, n: int) -> tuple[int, ...]:
    """Return at most n updates at which to evaluate, n at least 2: 0, then geometrically from 8 to the last."""
    first = min(8, steps) if n > 2 else steps
    spaced = torch.logspace(math.log10(first), math.log10(steps), n - 1, dtype=torch.float64)
    return tuple(sorted({0, *(round(step) for step in spaced.tolist())}))


def loss_weights(spec: CaseSpec, bands: RadialBins, power: Tensor) -> Tensor | None:
    """Return weights (h, w) of mean 1 for squared DCT errors; None for the plain loss. power (h, w): of the data."""
    if spec.inverse_power:
        weights = (bands.counts / band_sums(power, bands))[bands.rings]
    elif spec.loss_power:
        weights = coefficient_frequencies(*bands.rings.shape) ** spec.loss_power
    else:
        return None
    return weights / weights.mean()


def weighted_ratio(errors: Tensor, power: Tensor, weights: Tensor) -> float:
    """Return the sum of errors (h, w) over that of power (h, w), both times weights (h, w)."""
    return float((weights * errors).sum() / (weights * power).sum())


@torch.no_grad()
def draw_samples(
    denoiser: Denoiser, path: Path, plan: FrequencyPlan, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Generate `plan.samples` fields (n, c, h, w) by Heun's method; sample i is the same for any batch size."""

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.autocast):
            return denoiser(noisy, t, None)[0].float()

    noise, times = SampleNoise(0, range(plan.samples)).start(shape), time_grid(path, plan.sampling_steps)
    return torch.cat([SAMPLERS["heun"](predict, path, batch.to(device), times) for batch in noise.split(BATCH_SIZE)])
