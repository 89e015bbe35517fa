"""From a trained denoiser and its log to what each band and each noise level was like."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.path import Path
from ..results import Estimate
from ..spectrum.powerlaw import fit_power_law
from ..study_records.frequency_bias import Band, Halfway, Level, Look, Sight
from .band_errors import Bands, band_errors, band_power, error_factors, estimates, measured_noise
from .fields import Fields
from .frequency_plans import FrequencyPlan
from .halfway import halfway
from .seen_errors import Eyes, sight
from .wiener import Moments, coefficient_moments, expected_errors, wiener_denoiser

N_AT_ONCE = 64
N_SEEN = 64  # images that are looked at as images


def measured_levels(
    plan: FrequencyPlan,
    path: Path,
    network: Denoiser,
    fields: Fields,
    known: Moments,
    last: Look,
    bands: Bands,
    eyes: Eyes | None,
    device: torch.device,
) -> tuple[Level, ...]:
    """The trained network beside the best linear denoiser, level by level."""
    test, noise = fields.test.to(device), measured_noise(fields.test).to(device)
    wiener, autocast = wiener_denoiser(known, path), plan.precision == "bf16"
    linear = band_errors(wiener, path, test, noise, plan.times, bands)
    held_out = coefficient_moments(fields.test, about=known.mean).covariance
    factors, loss_factors = error_factors(path, plan.times)
    n, power = fields.test[0].numel(), band_power(fields.test, bands)
    csf = bands.sums(eyes.weights) / bands.counts if eyes else torch.ones(len(bands.counts), dtype=torch.float64)

    def seen(denoiser: Denoiser, time: float) -> Sight | None:
        if eyes is None or fields.restore is None:
            return None
        part, own = test[:N_SEEN], noise[:N_SEEN]
        found = estimates(denoiser, path, part, own, time, N_AT_ONCE, autocast and denoiser is network)
        return sight(fields.restore(found), fields.restore(part), eyes)

    levels = []
    for place, time in enumerate(plan.times):
        along = path.coefficients(torch.tensor(time, dtype=torch.float64))
        alpha, sigma = float(along.alpha), float(along.sigma)
        errors = torch.tensor(last.data_errors[place], dtype=torch.float64)
        weighted = csf * errors
        levels.append(
            Level(
                time=time,
                alpha=alpha,
                sigma=sigma,
                velocity_factor=float(factors[place]),
                loss_factor=float(loss_factors[place]),
                wiener_errors=tuple(linear[place].tolist()),
                expected_errors=tuple((bands.sums(expected_errors(known, held_out, alpha, sigma)) / n).tolist()),
                promised_errors=tuple(
                    (bands.sums(expected_errors(known, known.covariance, alpha, sigma)) / n).tolist()
                ),
                error_share=tuple((errors / errors.sum()).tolist()),
                seen_share=tuple((weighted / weighted.sum()).tolist()),
                relative_error=float(errors.sum() / power.sum()),
                seen_error=float(weighted.sum() / (csf * power).sum()),
                network=seen(network, time),
                wiener=seen(wiener, time),
            )
        )
    return tuple(levels)


def band_table(
    looks: Sequence[Look], levels: Sequence[Level], bands: Bands, power: Tensor, sampled: Tensor
) -> tuple[Band, ...]:
    """What each band was like at first and at last, and how soon it got there. power (n,): as `band_power`."""
    errors = torch.tensor([own.data_errors for own in looks], dtype=torch.float64)  # (looks, levels, n)
    linear = torch.tensor([level.wiener_errors for level in levels], dtype=torch.float64)
    factors = torch.tensor([level.loss_factor for level in levels], dtype=torch.float64)[:, None]
    share = bands.counts / bands.rings.numel()
    losses, linear_losses = (factors * errors).mean(1) / share, (factors * linear).mean(0) / share
    steps = [own.step for own in looks]
    found = []
    for k in range(len(bands.counts)):
        curve, end = losses[:, k].tolist(), float(linear_losses[k])
        half = Halfway(
            halfway(steps, curve, curve[-1]),
            halfway(steps, curve, curve[-1], "log"),
            halfway(steps, curve, end),
            halfway(steps, curve, end, "log"),
        )
        found.append(
            Band(
                frequency=float(bands.frequencies[k]),
                edge=float(bands.edges[k]),
                coefficients=int(bands.counts[k]),
                power=float(power[k] / share[k]),
                first_loss=curve[0],
                final_loss=curve[-1],
                wiener_loss=end,
                half=half,
                final_error=float((errors[-1, :, k] / power[k]).mean()),
                wiener_error=float((linear[:, k] / power[k]).mean()),
                ratio=float((errors[-1, :, k] / linear[:, k]).log().mean().exp()),
                sampled_decibels=float(sampled[k]) if sampled[k].isfinite() else None,
            )
        )
    return tuple(found)


def fitted_exponent(power: Tensor, bands: Bands, known: Moments) -> Estimate:
    """Of the power law through the bands of the training data, DC left out, the slope's error that of the fit."""
    c = known.mean.shape[0]
    of_dc = known.covariance[0, 0].diagonal().sum() + known.mean[:, 0, 0].square().sum()
    without, counts = power.clone(), bands.counts.clone()
    counts[0] -= 1
    # Where the first band holds nothing else, rounding is no power.
    without[0] = without[0] - of_dc / (c * bands.rings.numel()) if counts[0] else 0
    law = fit_power_law(without / counts.clamp_min(1), bands.frequencies, 1 / bands.frequencies)
    return Estimate(float(law.exponent), float(law.standard_error))
