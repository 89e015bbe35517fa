"""One case of the frequency-bias study: data and loss to a trained denoiser, and what it gets wrong by band."""

import math
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...diffusion import SAMPLERS, SampleNoise, time_grid
from ...diffusion.denoiser import Denoiser
from ...diffusion.path import Path
from ...metrics.ranks import rank_correlation
from ...nets.denoiser.build import build_denoiser
from ...records.provenance import provenance
from .band_errors import Bands, band_errors, band_power, bands_of, coefficient_errors, error_factors, measured_noise
from .fields import Fields, coefficient_frequencies
from .perception import Eyes
from .plans import FrequencyPlan, Subject
from .readings import band_table, fitted_exponent, halfway, measured_levels, ratios_of, seen_weights
from .record import Band, Case, Look, Order
from .training import frequency_weights, inverse_power_weights, logged_steps, train_denoiser
from .wiener import coefficient_moments, wiener_denoiser

N_AT_ONCE = 64
N_SHOWN = 36
LEAST_SPREAD = 1.1  # of the greatest over the least of bands that have an order


def run_case(
    plan: FrequencyPlan,
    name: str,
    seed: int,
    fields: Fields,
    *,
    data: str,
    eyes: Eyes | None,
    picture: Callable[[Tensor], str],
    device: torch.device,
    advance: Callable[[int], None] = lambda n: None,
    keep: Callable[[Mapping[str, Any]], None] = lambda state: None,
    kept: Mapping[str, Any] | None = None,
) -> Case:
    """Train and measure. data: in words. eyes: None for latents. picture: images to a PNG in base64.

    advance: called with the updates done since. keep: called now and then with what `kept` needs to be for the case to
    go on from there. The same seed gives the same numbers on one machine.
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
    looks = [Look(**row) for row in kept["looks"]] if kept else []
    advance(looks[-1].step if looks else 0)

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
        keep=lambda state: keep({**state, "looks": [asdict(own) for own in looks]}),
        kept=kept,
    )
    network.eval()
    wiener = wiener_denoiser(known, path)
    errors = coefficient_errors(network, path, test, noise, plan.times, N_AT_ONCE, autocast)
    linear = coefficient_errors(wiener, path, test, noise, plan.times)
    csf = seen_weights(eyes, subject.delta) if eyes and fields.restore else None
    levels = measured_levels(
        plan, path, network, fields, known, (errors.mean(0), linear.mean(0)), bands, csf, eyes, device
    )
    shape = (int(train.shape[1]), *grid)
    samples = draw(network, path, plan, shape, device, autocast)
    sampled, alike = (
        10 * (band_power(drawn, bands) / own_power).log10()
        for drawn in (samples, draw(wiener, path, plan, shape, device, False))
    )
    table = band_table(
        looks,
        levels,
        bands,
        band_power(fields.test, bands),
        ratios_of(bands.sums(errors), bands.sums(linear)),
        (sampled, alike),
    )
    shown = picture(fields.restore(samples[:N_SHOWN].cpu()).clamp(-1, 1)) if fields.restore else ""
    halves = [[[row.data_errors[at][k] for row in looks] for k in range(len(table))] for at in range(len(levels))]
    steps = [own.step for own in looks]
    return Case(
        name=name,
        seed=seed,
        subject="latents" if subject.data == "latents" else "pixels",
        data=data,
        objective=objective_of(subject, path),
        shape=shape,
        denoiser=choice,
        n_parameters=sum(weight.numel() for weight in network.parameters()),
        n_train=len(train),
        n_test=len(test),
        exponent=fitted_exponent(own_power, bands, known),
        csf=None if csf is None else tuple((bands.sums(csf) / bands.counts).tolist()),
        bands=table,
        order=order_of(table),
        levels=levels,
        looks=tuple(looks),
        half_levels=tuple(tuple(halfway(steps, errors, errors[-1]) for errors in level) for level in halves),
        n_samples=len(samples),
        samples=shown,
        seconds=round(clock.perf_counter() - began, 1),
        provenance=provenance(device, torch.bfloat16 if autocast else torch.float32, seed),
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
    network: Denoiser, path: Path, plan: FrequencyPlan, shape: tuple[int, int, int], device: torch.device, half: bool
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


def order_of(bands: Sequence[Band]) -> Order:
    """How each number goes with frequency; updates that are never reached are the most."""

    def along(numbers: Sequence[float | None]) -> float | None:
        values = [math.inf if value is None else value for value in numbers]
        if max(values) < LEAST_SPREAD * min(values):
            return None
        return rank_correlation([band.frequency for band in bands], values)

    return Order(
        half=along([band.half.to_final for band in bands]),
        half_log=along([band.half.to_final_log for band in bands]),
        ratio=along([band.ratio.value for band in bands]),
        error=along([band.final_error for band in bands]),
    )


def rows(errors: Tensor) -> tuple[tuple[float, ...], ...]:
    """A matrix as plain numbers."""
    return tuple(map(tuple, errors.tolist()))
