import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.studies.frequency_bias.band_errors import (
    band_sums,
    coefficient_power,
    held_out_noise,
    loss_factors,
    radial_bands,
    squared_errors,
)

TIMES = (0.1, 0.5, 0.9)


def fields(n=12, grid=(8, 8)):
    return torch.randn(n, 3, *grid, generator=torch.Generator().manual_seed(3))


def crude(noisy, t, labels=None, tap=None):
    """A denoiser that is wrong everywhere."""
    return 0.3 * noisy + 0.1, None


@pytest.mark.parametrize("kind", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_squared_errors_sum_to_errors_of_pixels_and_loss(kind, prediction):
    path, data, bands = Path(kind, prediction), fields(), radial_bands((8, 8), 5)
    noise = held_out_noise(data)
    errors = band_sums(squared_errors(crude, path, data, noise, TIMES, batch_size=5), bands).mean(0).sum(1)
    factors = loss_factors(path, TIMES)
    for level, time in enumerate(TIMES):
        t = torch.full((len(data),), time)
        noisy = path.mix(data, noise, t)
        predicted = crude(noisy, t)[0]
        pixels = (path.as_data(predicted, noisy, t) - data).square().mean()
        assert float(errors[level]) == pytest.approx(float(pixels), rel=1e-4)
        loss = (predicted - path.target(data, noise, t)).square().mean()
        assert float(errors[level] * factors[level]) == pytest.approx(float(loss), rel=1e-4)


def test_squared_errors_of_noiseless_data_vanish():
    data = fields()
    errors = squared_errors(
        lambda x, t, labels: (torch.zeros_like(x), None), Path(), data, held_out_noise(data), (0.0,)
    )
    assert errors.abs().max() < 1e-10


def test_held_out_noise_depends_on_position_alone():
    assert torch.equal(held_out_noise(fields(12)), held_out_noise(fields(12)))
    assert torch.equal(held_out_noise(fields(12))[:5], held_out_noise(fields(5)))


def test_coefficient_power_sums_to_mean_square():
    data = fields(grid=(8, 6)).double()
    power = coefficient_power(data, batch_size=5)
    assert float(power.sum()) == pytest.approx(float(data.square().mean()), rel=1e-12)
    for n in (1, 3, 7):
        bands = radial_bands((8, 6), n)
        assert int(bands.counts.sum()) == 48
        assert float(band_sums(power, bands).sum()) == pytest.approx(float(data.square().mean()), rel=1e-12)
