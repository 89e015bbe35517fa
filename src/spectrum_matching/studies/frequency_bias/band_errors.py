"""Errors of a denoiser on held-out data by radial DCT band and noise level, and their summary by band."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...diffusion import Denoiser, Path
from ...metrics.decoder.transfer import filled_rings
from ...metrics.estimates import jackknife_rows
from ...metrics.ranks import rank_correlation
from ...records.measurement import Measurement
from ...seeding import indexed_noise
from ...spectrum.dct import dct2
from ...spectrum.power import RadialBins, radial_bins
from .record import Band, EvalPoint, NoiseLevel, RankCorrelation

LEAST_SPREAD = 1.1  # of the largest over the smallest value, below which bands have no order


def radial_bands(grid: tuple[int, int], at_most: int) -> RadialBins:
    """Return equal-width rings of frequency, as many up to `at_most` as leave none empty; DC is in the first."""
    return radial_bins(*grid, filled_rings(grid, at_most), "frequency")


def band_sums(coefficients: Tensor, bands: RadialBins) -> Tensor:
    """Sum over each ring: (…, h, w) → (…, bands)."""
    zeros = coefficients.new_zeros(*coefficients.shape[:-2], len(bands.counts))
    return zeros.index_add_(-1, bands.rings.flatten().to(coefficients.device), coefficients.flatten(-2))


def coefficient_power(fields: Tensor, batch_size: int = 256) -> Tensor:
    """Return each DCT coefficient's part in the mean square of fields (n, c, h, w): (h, w) float64, summing to it."""
    parts = [dct2(batch).double().square().sum((0, 1)) for batch in fields.split(batch_size)]
    return torch.stack(parts).sum(0).cpu() / fields.numel()


def held_out_noise(fields: Tensor) -> Tensor:
    """Return the noise added to held-out fields (n, c, h, w): the same for every denoiser, update and level."""
    return indexed_noise(fields.shape, range(len(fields)), "frequency bias", "test")


def loss_factors(path: Path, times: tuple[float, ...]) -> Tensor:
    """Return by what the squared error of x̂ is multiplied to give that of the prediction: (levels,) float64.

    x̂ = (σ'·x_t − σ·v)/(α·σ' − α'·σ) and x̂ = (x_t − σ·ε)/α: at a given x_t the errors are proportional.
    """
    along = path.coefficients(torch.tensor(times, dtype=torch.float64))
    scale = {"velocity": along.rate / along.sigma, "noise": along.alpha / along.sigma}
    return scale.get(path.prediction, torch.ones_like(along.sigma)).square()


@torch.no_grad()
def squared_errors(
    denoiser: Denoiser,
    path: Path,
    data: Tensor,
    noise: Tensor,
    times: tuple[float, ...],
    batch_size: int = 64,
    autocast: bool = False,
) -> Tensor:
    """Return squared errors of x̂ by DCT coefficient, for data and noise (n, c, h, w): (n, levels, h, w) float64.

    They are summed over channels and divided by c·h·w, so that they sum over coefficients to the error of a value.
    """
    rows = []
    for clean, epsilon in zip(data.split(batch_size), noise.split(batch_size), strict=True):
        levels = []
        for time in times:
            t = torch.full((len(clean),), time, device=clean.device)
            noisy = path.mix(clean, epsilon, t)
            with torch.autocast(clean.device.type, torch.bfloat16, enabled=autocast):
                prediction = denoiser(noisy, t, None)[0]
            error = path.as_data(prediction.to(noisy.dtype), noisy, t) - clean
            levels.append(dct2(error).double().square().sum(1).cpu() / clean[0].numel())
        rows.append(torch.stack(levels, 1))
    return torch.cat(rows)


def band_table(
    evals: Sequence[EvalPoint],
    levels: Sequence[NoiseLevel],
    bands: RadialBins,
    power: Tensor,
    ratios: Sequence[Measurement],
    sampled: Tensor,
    wiener_sampled: Tensor,
) -> tuple[Band, ...]:
    """Summarise each band over noise levels and updates.

    power (bands,): mean square of the held-out data. ratios: `jackknife_ratios`. sampled, wiener_sampled (bands,):
    power of generated over training data, for the network and the best linear denoiser.
    """
    errors = torch.tensor([point.data_errors for point in evals], dtype=torch.float64)  # (evals, levels, bands)
    wiener = torch.tensor([level.wiener_errors for level in levels], dtype=torch.float64)
    factors = torch.tensor([level.loss_factor for level in levels], dtype=torch.float64)[:, None]
    share = bands.counts / bands.rings.numel()
    losses, wiener_losses = (factors * errors).mean(1) / share, (factors * wiener).mean(0) / share
    steps = [point.step for point in evals]
    table = []
    for band, curve in enumerate(losses.T.tolist()):
        table.append(
            Band(
                frequency=float(bands.frequencies[band]),
                coefficients=int(bands.counts[band]),
                power=float(power[band] / share[band]),
                final_loss=curve[-1],
                wiener_loss=float(wiener_losses[band]),
                half=halfway(steps, curve),
                final_error=float((errors[-1, :, band] / power[band]).mean()),
                ratio=ratios[band],
                sampled_decibels=_decibels(sampled[band]),
                wiener_sampled_decibels=_decibels(wiener_sampled[band]),
            )
        )
    return tuple(table)


def rank_correlations(bands: Sequence[Band]) -> RankCorrelation:
    """Correlate each number with frequency; updates that are never reached count as the most."""

    def correlate(numbers: Sequence[float | None]) -> float | None:
        values = [math.inf if value is None else value for value in numbers]
        if max(values) < LEAST_SPREAD * min(values):
            return None
        return rank_correlation([band.frequency for band in bands], values)

    return RankCorrelation(
        half=correlate([band.half for band in bands]),
        ratio=correlate([band.ratio.value for band in bands]),
        error=correlate([band.final_error for band in bands]),
    )


def jackknife_ratios(errors: Tensor, wiener_errors: Tensor) -> list[Measurement]:
    """Return the ratio of mean errors in each band, geometric mean over levels, with jackknife errors over fields.

    Both (n, levels, bands).
    """

    def ratio(rows: Tensor) -> Tensor:
        network, wiener = rows.mean(0)
        return (network / wiener).log().mean().exp()

    pairs = torch.stack((errors, wiener_errors), 1)  # (n, 2, levels, bands)
    return [jackknife_rows(ratio, pairs[..., band]) for band in range(pairs.shape[-1])]


def halfway(steps: Sequence[int], errors: Sequence[float]) -> float | None:
    """Return the updates until half of what errors, evaluated at `steps`, fall by is gone; None where they do not fall.

    Interpolates between evaluations by a straight line in log(updates + 1) and log(error).
    """
    goal = (errors[0] + errors[-1]) / 2
    if errors[0] <= errors[-1]:
        return None
    i = next(i for i, error in enumerate(errors) if error <= goal)
    left, right = math.log(errors[i - 1] / goal), math.log(goal / max(errors[i], 1e-300))
    low, high = math.log(steps[i - 1] + 1), math.log(steps[i] + 1)
    return math.exp(low + left / (left + right) * (high - low)) - 1


def _decibels(ratio: Tensor) -> float | None:
    decibels = 10 * ratio.log10()
    return float(decibels) if decibels.isfinite() else None
