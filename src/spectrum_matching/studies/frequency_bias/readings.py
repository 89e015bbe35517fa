"""From a trained denoiser and its log to what each band and each noise level was like."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...diffusion.denoiser import Denoiser
from ...diffusion.path import Path
from ...metrics.estimates import jackknife_rows
from ...records.measurement import Measurement
from ...spectrum.dct import dct2
from ...spectrum.powerlaw import fit_power_law
from .band_errors import Bands, error_factors, estimates, measured_noise
from .fields import Fields, coefficient_frequencies
from .perception import Eyes, sight
from .plans import FrequencyPlan
from .record import Band, Halfway, Level, Look, Sight
from .wiener import Moments, coefficient_moments, expected_errors, wiener_denoiser

N_AT_ONCE = 64
N_SEEN = 64  # images that are looked at as images


def seen_weights(eyes: Eyes, delta: float) -> Tensor:
    """Squared contrast sensitivity to each coefficient of fields whose power was multiplied by f^delta, of mean 1.

    (h, w), float64. Eyes meet the images, in which the tilt is undone.
    """
    weights = eyes.weights * coefficient_frequencies(eyes.weights.shape[0], eyes.weights.shape[1]) ** -delta
    return weights / weights.mean()


def measured_levels(
    plan: FrequencyPlan,
    path: Path,
    network: Denoiser,
    fields: Fields,
    known: Moments,
    errors: tuple[Tensor, Tensor],
    bands: Bands,
    csf: Tensor | None,
    eyes: Eyes | None,
    device: torch.device,
) -> tuple[Level, ...]:
    """The trained network beside the best linear denoiser, level by level.

    errors (levels, h, w) each: of both, means over fields of `coefficient_errors`. csf: `seen_weights`, None where
    fields are no images.
    """
    test, noise = fields.test.to(device), measured_noise(fields.test).to(device)
    wiener, autocast = wiener_denoiser(known, path), plan.precision == "bf16"
    held_out = coefficient_moments(fields.test, about=known.mean).covariance
    factors, loss_factors = error_factors(path, plan.times)
    n = fields.test[0].numel()
    power = dct2(fields.test).double().square().sum(1).mean(0) / n

    def whole(errors: Tensor, weights: Tensor | None = None) -> float:
        weights = torch.ones_like(power) if weights is None else weights
        return float((weights * errors).sum() / (weights * power).sum())

    def shares(errors: Tensor) -> tuple[float, ...]:
        return tuple((bands.sums(errors) / errors.sum()).tolist())

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
        own, linear = (of[place] for of in errors)
        levels.append(
            Level(
                time=time,
                alpha=alpha,
                sigma=sigma,
                velocity_factor=float(factors[place]),
                loss_factor=float(loss_factors[place]),
                wiener_errors=tuple(bands.sums(linear).tolist()),
                expected_errors=tuple((bands.sums(expected_errors(known, held_out, alpha, sigma)) / n).tolist()),
                promised_errors=tuple(
                    (bands.sums(expected_errors(known, known.covariance, alpha, sigma)) / n).tolist()
                ),
                error_share=shares(own),
                seen_share=None if csf is None else shares(csf * own),
                relative_error=whole(own),
                wiener_relative_error=whole(linear),
                seen_error=None if csf is None else whole(own, csf),
                wiener_seen_error=None if csf is None else whole(linear, csf),
                network=seen(network, time),
                wiener=seen(wiener, time),
            )
        )
    return tuple(levels)


def band_table(
    looks: Sequence[Look],
    levels: Sequence[Level],
    bands: Bands,
    power: Tensor,
    ratios: Sequence[Measurement],
    sampled: tuple[Tensor, Tensor],
) -> tuple[Band, ...]:
    """What each band was like at first and at last, and how soon it got there.

    power (n,): as `band_power`. ratios (n): `ratios_of`. sampled (n,) each: decibels of the network's samples and of
    the linear denoiser's.
    """
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
                ratio=ratios[k],
                sampled_decibels=float(sampled[0][k]) if sampled[0][k].isfinite() else None,
                wiener_sampled_decibels=float(sampled[1][k]) if sampled[1][k].isfinite() else None,
            )
        )
    return tuple(found)


def ratios_of(network: Tensor, linear: Tensor) -> tuple[Measurement, ...]:
    """Errors of one over those of the other by band, geometric mean over levels.

    (b, levels, n) each → n estimates with their jackknife over fields, on which both were measured.
    """

    def ratio(rows: Tensor) -> Tensor:
        one, other = rows.mean(0)
        return (one / other).log().mean().exp()

    pairs = torch.stack((network, linear), 1)  # (b, 2, levels, n)
    found = [jackknife_rows(ratio, pairs[..., k]) for k in range(pairs.shape[-1])]
    return tuple(Measurement(float(number.value or 0), float(number.standard_error or 0)) for number in found)


def fitted_exponent(power: Tensor, bands: Bands, known: Moments) -> Measurement:
    """Of the power law through the bands of the training data, DC left out, the slope's error that of the fit."""
    c = known.mean.shape[0]
    of_dc = known.covariance[0, 0].diagonal().sum() + known.mean[:, 0, 0].square().sum()
    without, counts = power.clone(), bands.counts.clone()
    counts[0] -= 1
    # Where the first band holds nothing else, rounding is no power.
    without[0] = without[0] - of_dc / (c * bands.rings.numel()) if counts[0] else 0
    law = fit_power_law(without / counts.clamp_min(1), bands.frequencies, 1 / bands.frequencies)
    return Measurement(float(law.exponent), float(law.standard_error))


def updates_to(steps: Sequence[int], errors: Sequence[float], goal: float) -> float | None:
    """The first update at which the errors, logged at `steps`, reach a goal from above; None where none does.

    Between two logged updates, a straight line in log(updates + 1) and log(error).
    """
    if errors[0] <= goal:
        return float(steps[0])
    for i in range(1, len(steps)):
        if errors[i] <= goal:
            left, right = math.log(errors[i - 1] / goal), math.log(goal / max(errors[i], 1e-300))
            share = left / (left + right)
            low, high = math.log(steps[i - 1] + 1), math.log(steps[i] + 1)
            return math.exp(low + share * (high - low)) - 1
    return None


def halfway(steps: Sequence[int], errors: Sequence[float], end: float, scale: str = "plain") -> float | None:
    """Updates from the first error to half of the way to `end`: of the error, or with scale "log" of its logarithm.

    None where the first error is no larger than `end`, so that there is nothing to learn, and where half of the way is
    never reached.
    """
    first = errors[0]
    if first <= end:
        return None
    return updates_to(steps, errors, math.sqrt(first * end) if scale == "log" else (first + end) / 2)
