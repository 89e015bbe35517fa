"""One case of the frequency-bias study: train a denoiser and measure what it gets wrong by band."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path as File

import torch
from torch import Tensor

from ...diffusion import SAMPLERS, Denoiser, Path, SampleNoise, time_grid
from ...files.atomic import open_atomically
from ...nets.denoiser.build import build_denoiser
from ...records.provenance import provenance
from ...spectrum.power import RadialBins
from .band_errors import band_sums, coefficient_power, held_out_noise, loss_factors, radial_bands, squared_errors
from .fields import Fields, coefficient_frequencies
from .perception import sensitivity_weights
from .plans import CaseSpec, FrequencyPlan
from .record import Case, EvalPoint, NoiseLevel
from .summary import band_table, fitted_exponent, jackknife_ratios, rank_correlations
from .training import DenoiserTraining, eval_steps
from .wiener import coefficient_moments, wiener_denoiser

BATCH_SIZE = 64
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

    checkpoint: file in which an interrupted training is kept, and from which it resumes. progress: called with the
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
    training = DenoiserTraining(network, path, fields.train.to(device), plan, seed, weights)
    test, noise = fields.test.to(device), held_out_noise(fields.test).to(device)

    def measure(denoiser: Denoiser) -> Tensor:
        return squared_errors(denoiser, path, test, noise, plan.times, BATCH_SIZE, plan.autocast)

    def evaluate() -> Tensor:
        return band_sums(measure(network), bands).mean(0)

    evals = train_and_evaluate(training, eval_steps(plan.steps, plan.eval_points), evaluate, checkpoint, progress)
    wiener = wiener_denoiser(coefficient_moments(fields.train), path)
    errors, wiener_errors = measure(network), measure(wiener)
    is_image = spec.data == "images"
    csf = sensitivity_weights(*shape[1:], plan.pixels_per_degree, spec.delta) if is_image else None
    even = torch.ones_like(power)
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
        for t, factor, error, linear in zip(
            plan.times, loss_factors(path, plan.times).tolist(), errors.mean(0), wiener_errors.mean(0), strict=True
        )
    ]
    table = band_table(
        evals,
        levels,
        bands,
        band_sums(power, bands),
        jackknife_ratios(band_sums(errors, bands), band_sums(wiener_errors, bands)),
        *(band_sums(coefficient_power(x), bands) / band_sums(train_power, bands) for x in (samples, wiener_samples)),
    )
    return Case(
        name=name,
        seed=seed,
        space="latents" if spec.data == "latents" else "pixels",
        shape=shape,
        denoiser=choice,
        n_parameters=sum(weight.numel() for weight in network.parameters()),
        exponent=fitted_exponent(train_power, bands),
        bands=table,
        rank_correlation=rank_correlations(table),
        levels=tuple(levels),
        evals=tuple(evals),
        provenance=provenance(device, torch.bfloat16 if plan.autocast else torch.float32, seed),
    )


def train_and_evaluate(
    training: DenoiserTraining,
    steps: tuple[int, ...],
    evaluate: Callable[[], Tensor],
    checkpoint: File,
    progress: Callable[[int, int], None],
) -> list[EvalPoint]:
    """Train to the last of `steps` and evaluate at each; `evaluate` returns errors (levels, bands).

    Raises:
        ValueError: if errors are not finite.
    """
    evals: list[EvalPoint] = []
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=training.data.device, weights_only=True)
        evals = [EvalPoint(**point) for point in state.pop("evals")]
        training.load_state_dict(state)
    for stop in sorted({*steps, *range(CHECKPOINT_EVERY, steps[-1], CHECKPOINT_EVERY)}):
        if evals and stop <= training.step:
            continue
        training.train_until(stop)
        if stop in steps:
            errors = evaluate()
            if not errors.isfinite().all():
                raise ValueError(f"errors are not finite at update {stop}: lower learning_rate")
            evals.append(EvalPoint(stop, tuple(map(tuple, errors.tolist()))))
        if stop < steps[-1]:  # the last update is reported once the case is measured
            progress(stop, steps[-1])
        state = training.state_dict() | {"evals": [asdict(point) for point in evals]}
        with open_atomically(checkpoint) as stream:
            torch.save(state, stream)
    return evals


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
