"""Errors of a denoiser on held-out data, by radial DCT band and noise level."""

import torch
from torch import Tensor

from ...diffusion import Denoiser, Path
from ...metrics.decoder.transfer import filled_rings
from ...seeding import indexed_noise
from ...spectrum.dct import dct2
from ...spectrum.power import RadialBins, radial_bins


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
    return indexed_noise(fields.shape, 0, "frequency bias", "test")


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
