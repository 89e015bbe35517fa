"""What a denoiser gets wrong of held-out data, by radial band and noise level."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...diffusion.denoiser import Denoiser
from ...diffusion.path import Path
from ...metrics.decoder.noise import placed_noise
from ...metrics.decoder.transfer import filled_rings, ring_edges
from ...spectrum.dct import dct2
from ...spectrum.power import radial_bins


class Bands(NamedTuple):
    """Equal-width rings from DC, which is in the first, to the corner. rings (h, w); counts, frequencies, edges (n,).

    frequencies, and edges, the upper ones: cycles per sample.
    """

    rings: Tensor
    counts: Tensor
    frequencies: Tensor
    edges: Tensor

    def sums(self, coefficients: Tensor) -> Tensor:
        """(…, h, w) → (…, n): sums over the rings."""
        zeros = coefficients.new_zeros(*coefficients.shape[:-2], len(self.counts))
        return zeros.index_add_(-1, self.rings.flatten().to(coefficients.device), coefficients.flatten(-2))


def bands_of(grid: tuple[int, int], at_most: int) -> Bands:
    """As many as leave none empty, `at_most` at most."""
    n = filled_rings(grid, at_most)
    found = radial_bins(*grid, n, "frequency")
    return Bands(found.rings, found.counts, found.frequencies, ring_edges(grid, n))


def band_power(fields: Tensor, bands: Bands, batch_size: int = 256) -> Tensor:
    """Mean square of a value (b, c, h, w) by band: (n,) float64, summing to the whole mean square."""
    parts = [bands.sums(dct2(part).double().square().sum((0, 1))) for part in fields.split(batch_size)]
    return torch.stack(parts).sum(0).cpu() / fields.numel()


def measured_noise(fields: Tensor) -> Tensor:
    """The noise of every measurement on these fields (n, c, h, w): whoever is measured meets the same."""
    return placed_noise(fields.shape, 0, "frequency bias", "test")


def error_factors(path: Path, times: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """What the squared error of x̂ is multiplied by to be that of the velocity, and that of the prediction: (levels,).

    x̂ = (σ'·x_t − σ·v)/(α·σ' − α'·σ), and x̂ = (x_t − σ·ε)/α: at a given x_t the errors are proportional.
    """
    along = path.coefficients(torch.tensor(times, dtype=torch.float64))
    velocity = (along.rate / along.sigma).square()
    by_prediction = {
        "velocity": velocity,
        "noise": (along.alpha / along.sigma).square(),
        "data": torch.ones_like(velocity),
    }
    return velocity, by_prediction[path.prediction]


@torch.no_grad()
def estimates(
    denoiser: Denoiser, path: Path, data: Tensor, noise: Tensor, time: float, batch_size: int, autocast: bool = False
) -> Tensor:
    """x̂ of data and noise (n, c, h, w) at one noise level: (n, c, h, w)."""
    found = []
    for part, own in zip(data.split(batch_size), noise.split(batch_size), strict=True):
        t = torch.full((len(part),), time, device=part.device)
        noisy = path.mix(part, own, t)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=autocast):
            prediction = denoiser(noisy, t, None)[0]
        found.append(path.as_data(prediction.to(noisy.dtype), noisy, t))
    return torch.cat(found)


def band_errors(
    denoiser: Denoiser,
    path: Path,
    data: Tensor,
    noise: Tensor,
    times: tuple[float, ...],
    bands: Bands,
    batch_size: int = 64,
    autocast: bool = False,
) -> Tensor:
    """Mean squared error of x̂ by noise level and band: (levels, n) float64, summing over bands to that of a value."""
    errors = coefficient_errors(denoiser, path, data, noise, times, batch_size, autocast)
    return bands.sums(errors).mean(0)


def coefficient_errors(
    denoiser: Denoiser,
    path: Path,
    data: Tensor,
    noise: Tensor,
    times: tuple[float, ...],
    batch_size: int = 64,
    autocast: bool = False,
) -> Tensor:
    """The same of each field and DCT coefficient: (b, levels, h, w) float64, summing over coefficients to that of a
    value."""
    found = []
    for time in times:
        errors = estimates(denoiser, path, data, noise, time, batch_size, autocast) - data
        parts = [dct2(part).double().square().sum(1).cpu() for part in errors.split(batch_size)]
        found.append(torch.cat(parts) / data[0].numel())
    return torch.stack(found, 1)
