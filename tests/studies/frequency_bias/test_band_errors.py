import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.studies.frequency_bias.band_errors import (
    band_errors,
    bands_of,
    error_factors,
    estimates,
    measured_noise,
)

TIMES = (0.1, 0.5, 0.9)


def fields(n=12, grid=(8, 8)):
    return torch.randn(n, 3, *grid, generator=torch.Generator().manual_seed(3))


def crude(noisy, t, labels=None, tap=None):
    """A denoiser that is wrong everywhere."""
    return 0.3 * noisy + 0.1, None


@pytest.mark.parametrize("kind", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_bands_sum_to_the_pixel_error_of_the_data_the_velocity_and_the_prediction(kind, prediction):
    path, data, bands = Path(kind, prediction), fields(), bands_of((8, 8), 5)
    noise = measured_noise(data)
    found = band_errors(crude, path, data, noise, TIMES, bands, batch_size=5).sum(1)
    velocity, of_prediction = error_factors(path, TIMES)
    for at, time in enumerate(TIMES):
        t = torch.full((len(data),), time)
        noisy = path.mix(data, noise, t)
        predicted = crude(noisy, t)[0]
        pixels = (path.as_data(predicted, noisy, t) - data).square().mean()
        moving = Path(kind, "velocity")
        wrong = path.as_velocity(predicted, noisy, t) - moving.target(data, noise, t)
        assert float(found[at]) == pytest.approx(float(pixels), rel=1e-4)
        assert float(found[at] * velocity[at]) == pytest.approx(float(wrong.square().mean()), rel=1e-4)
        loss = (predicted - path.target(data, noise, t)).square().mean()
        assert float(found[at] * of_prediction[at]) == pytest.approx(float(loss), rel=1e-4)


def test_the_noise_of_a_measurement_is_the_same_for_everyone_and_does_not_depend_on_how_many():
    assert torch.equal(measured_noise(fields(12)), measured_noise(fields(12)))
    assert torch.equal(measured_noise(fields(12))[:5], measured_noise(fields(5)))


def test_an_estimate_of_noiseless_data_is_the_data():
    path, data = Path(), fields()
    found = estimates(lambda x, t, labels: (torch.zeros_like(x), None), path, data, measured_noise(data), 0.0, 4)
    torch.testing.assert_close(found, data)
