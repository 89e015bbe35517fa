"""Summary of a case by band: loss, updates to half, error over the best linear denoiser's, rank correlations."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...metrics.estimates import jackknife_rows
from ...metrics.ranks import rank_correlation
from ...records.measurement import Measurement
from ...spectrum.power import RadialBins
from .record import Band, EvalPoint, NoiseLevel, RankCorrelation

LEAST_SPREAD = 1.1  # of the largest over the smallest value, below which bands have no order


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
