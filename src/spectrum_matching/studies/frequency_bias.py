"""One case of the frequency-bias study: data and loss to a trained denoiser, and what it gets wrong by band."""

import time as clock
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..diffusion import SAMPLERS, SampleNoise, time_grid
from ..diffusion.path import Path
from ..nets.denoisers import build_denoiser
from ..study_records.frequency_bias import Band, Case, Look, Order
from .band_errors import Bands, band_errors, band_power, bands_of, error_factors, measured_noise
from .denoiser_training import frequency_weights, inverse_power_weights, logged_steps, train_denoiser
from .fields import Fields, coefficient_frequencies
from .frequency_plans import FrequencyPlan, Subject
from .frequency_readings import band_table, fitted_exponent, measured_levels
from .halfway import halfway
from .seen_errors import Eyes
from .wiener import coefficient_moments

Correlation = Callable[[Sequence[float], Sequence[float]], float | None]

N_AT_ONCE = 64
N_SHOWN = 36


def run_case(
    plan: FrequencyPlan,
    name: str,
    seed: int,
    fields: Fields,
    *,
    data: str,
    eyes: Eyes | None,
    picture: Callable[[Tensor], str],
    correlation: Correlation,
    device: torch.device,
    advance: Callable[[int], None] = lambda n: None,
) -> Case:
    """Train and measure. data: in words. eyes: None for latents. picture: images to a PNG in base64. correlation:
    of ranks.

    advance: called with the updates done since. The same seed gives the same numbers on one machine.
    """
    began = clock.perf_counter()
    subject = plan.subjects[name]
    path, grid = plan.path_of(subject), (fields.train.shape[2], fields.train.shape[3])
    bands = bands_of(grid, plan.bands)
    known = coefficient_moments(fields.train)
    train, test = fields.train.to(device), fields.test.to(device)
    noise = measured_noise(fields.test).to(device)
    own_power = band_power(fields.train, bands)
    choice = plan.latent_denoiser if subject.data == "latents" else plan.denoiser
    network = build_denoiser(choice, train.shape[1], grid, seed=seed, time_scale=1000.0).to(device)
    autocast = plan.precision == "bf16"
    factors = error_factors(path, plan.times)[0]
    looks: list[Look] = []

    def look(step: int, loss: float | None) -> None:
        found = band_errors(network, path, test, noise, plan.times, bands, N_AT_ONCE, autocast)
        looks.append(Look(step, loss, rows(found), rows(factors[:, None] * found)))
        advance(step - looks[-2].step if len(looks) > 1 else 0)

    train_denoiser(
        network,
        path,
        train,
        plan.schedule,
        look_at=logged_steps(plan.steps, plan.looks),
        look=look,
        seed=seed,
        weights=loss_weights(subject, bands, grid, own_power),
        autocast=autocast,
    )
    network.eval()
    levels = measured_levels(plan, path, network, fields, known, looks[-1], bands, eyes, device)
    samples = draw(network, path, plan, (int(train.shape[1]), *grid), device, autocast)
    sampled = 10 * (band_power(samples, bands) / own_power).log10()
    table = band_table(looks, levels, bands, band_power(fields.test, bands), sampled)
    shown = picture(fields.restore(samples[:N_SHOWN].cpu()).clamp(-1, 1)) if fields.restore else ""
    halves = [[[row.data_errors[at][k] for row in looks] for k in range(len(table))] for at in range(len(levels))]
    steps = [own.step for own in looks]
    return Case(
        name=name,
        seed=seed,
        subject="latents" if subject.data == "latents" else "pixels",
        data=data,
        objective=objective_of(subject, path),
        shape=(int(train.shape[1]), *grid),
        denoiser=choice,
        n_parameters=sum(weight.numel() for weight in network.parameters()),
        n_train=len(train),
        n_test=len(test),
        exponent=fitted_exponent(own_power, bands, known),
        csf=tuple((bands.sums(eyes.weights) / bands.counts).tolist()) if eyes else (1.0,) * len(table),
        bands=table,
        order=order_of(table, correlation),
        levels=levels,
        looks=tuple(looks),
        half_levels=tuple(tuple(halfway(steps, errors, errors[-1]) for errors in level) for level in halves),
        n_samples=len(samples),
        samples=shown,
        seconds=round(clock.perf_counter() - began, 1),
    )


def loss_weights(subject: Subject, bands: Bands, grid: tuple[int, int], power: Tensor) -> Tensor | None:
    """Of squared DCT errors, (h, w) of mean 1; None for the plain loss. power (n,): `band_power` of what is learned."""
    if subject.inverse_power:
        return inverse_power_weights(bands.rings, power / bands.counts)
    return frequency_weights(coefficient_frequencies(*grid), subject.loss_power)


def objective_of(subject: Subject, path: Path) -> str:
    """In words."""
    weighted = ""
    if subject.inverse_power:
        weighted = ", each band’s over its power"
    elif subject.loss_power:
        weighted = f", times f^{subject.loss_power:g}"
    return f"squared error of the {path.prediction} on the {path.kind} path{weighted}"


@torch.no_grad()
def draw(
    network: nn.Module, path: Path, plan: FrequencyPlan, shape: tuple[int, int, int], device: torch.device, half: bool
) -> Tensor:
    """Samples (n, c, h, w), each by its number whatever the batch."""
    found = []
    for start in range(0, plan.samples, N_AT_ONCE):
        noise = SampleNoise(0, range(start, min(start + N_AT_ONCE, plan.samples)))

        def predict(noisy: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                prediction: Tensor = network(noisy, t, None)[0]
            return prediction.float()

        def drawn(step: int, noise: SampleNoise = noise) -> Tensor:
            return noise.at(step, shape).to(device)

        start_at = noise.start(shape).to(device)
        found.append(SAMPLERS[plan.sampler](predict, path, start_at, time_grid(path, plan.sampling_steps), drawn))
    return torch.cat(found)


def order_of(bands: Sequence[Band], correlation: Correlation) -> Order:
    """How each number goes with frequency."""

    def along(numbers: Sequence[float | None]) -> float | None:
        pairs = [(band.frequency, value) for band, value in zip(bands, numbers, strict=True) if value is not None]
        return correlation([x for x, _ in pairs], [y for _, y in pairs])

    return Order(
        half=along([band.half.to_final for band in bands]),
        half_log=along([band.half.to_final_log for band in bands]),
        ratio=along([band.ratio for band in bands]),
        error=along([band.final_error for band in bands]),
    )


def rows(errors: Tensor) -> tuple[tuple[float, ...], ...]:
    """A matrix as plain numbers."""
    return tuple(map(tuple, errors.tolist()))
