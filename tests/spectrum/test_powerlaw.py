import numpy as np
import pytest
import torch

from spectrum_matching.spectrum import fit_power_law, power_spectrum, radial_bins, radial_profile

FREQUENCIES = torch.linspace(0.03, 0.7, 16, dtype=torch.float64)


def bands_and_weights(x):
    """Bands of a field (b, c, h, w), their frequencies, and how many coefficients each holds."""
    grid = x.shape[-2:]
    _, counts, _, frequencies = radial_bins(*grid, 16, "frequency")
    weights = counts.double()
    weights[0] -= 1  # DC
    return radial_profile(power_spectrum(x).mean(1), 16, "frequency", drop_dc=True), frequencies, weights


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0, 3.7])
def test_fit_power_law_recovers_an_exact_power_law(exponent):
    fit = fit_power_law(3.0 * FREQUENCIES**-exponent, FREQUENCIES)
    torch.testing.assert_close(fit.exponent, torch.tensor(exponent, dtype=torch.float64))
    torch.testing.assert_close(fit.amplitude, torch.tensor(3.0, dtype=torch.float64))
    assert fit.standard_error < 1e-7


@pytest.mark.parametrize("grid", [(64, 64), (32, 48)])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_fit_power_law_recovers_the_exponent_of_a_field(grid, alpha, power_law_field):
    fit = fit_power_law(*bands_and_weights(power_law_field(7, (1, 8, *grid), alpha)))
    assert fit.standard_error < 0.05
    assert abs(fit.exponent - alpha) < 3 * fit.standard_error


def test_fit_power_law_equals_numpy_polyfit(generator):
    bands = torch.rand(16, dtype=torch.float64, generator=generator) + 0.1
    weights = torch.rand(16, dtype=torch.float64, generator=generator) + 0.1
    x, y = FREQUENCIES.log().numpy(), bands.log().numpy()
    (slope, intercept), covariance = np.polyfit(x, y, 1, w=weights.sqrt().numpy(), cov=True)
    fit = fit_power_law(bands, FREQUENCIES, weights)
    np.testing.assert_allclose(fit.exponent, -slope)
    np.testing.assert_allclose(fit.amplitude, np.exp(intercept))
    np.testing.assert_allclose(fit.standard_error, np.sqrt(covariance[0, 0]))


def test_fit_power_law_standard_error_is_calibrated_on_lines(generator):
    """With 16 bands z is Student's t with 14 degrees of freedom: its standard deviation is √(14/12) = 1.080."""
    noise = 0.3 * torch.randn(4000, 16, dtype=torch.float64, generator=generator)
    fit = fit_power_law((-1.4 * FREQUENCIES.log() + noise).exp(), FREQUENCIES)
    z = (fit.exponent - 1.4) / fit.standard_error
    assert abs(z.mean()) < 0.07
    assert 1.03 < z.std() < 1.13


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_fit_power_law_standard_error_is_calibrated_on_fields(alpha, power_law_field):
    fit = fit_power_law(*bands_and_weights(power_law_field(8, (600, 1, 32, 32), alpha)))
    z = (fit.exponent - alpha) / fit.standard_error
    assert abs(z.mean()) < 0.5  # a ring is wide: its power sits at its frequency exactly only where alpha is 0 or 2
    assert 0.95 < z.std() < 1.25


def test_fit_power_law_is_equivariant_to_scale(generator):
    bands = torch.rand(3, 16, dtype=torch.float64, generator=generator) + 0.1
    weights = torch.rand(16, dtype=torch.float64, generator=generator) + 0.1
    plain, scaled = fit_power_law(bands, FREQUENCIES, weights), fit_power_law(100 * bands, FREQUENCIES, 7 * weights)
    torch.testing.assert_close(scaled.exponent, plain.exponent)
    torch.testing.assert_close(scaled.standard_error, plain.standard_error)
    torch.testing.assert_close(scaled.amplitude, 100 * plain.amplitude)


def test_fit_power_law_leaves_out_bands_without_power():
    bands = 2 * FREQUENCIES**-1.5
    holed = bands.clone()
    holed[[0, 5]] = 0
    torch.testing.assert_close(fit_power_law(holed, FREQUENCIES).exponent, fit_power_law(bands, FREQUENCIES).exponent)


def test_fit_power_law_takes_a_band_of_weight_0_as_none(generator):
    bands = FREQUENCIES**-1.5 * (1 + 0.1 * torch.randn(len(FREQUENCIES), generator=generator)).abs()
    weights = torch.ones(len(FREQUENCIES))
    weights[5:] = 0
    some = fit_power_law(bands, FREQUENCIES, weights), fit_power_law(bands[:5], FREQUENCIES[:5])
    torch.testing.assert_close(*some)
    weights[:] = torch.arange(3, 3 + len(weights))
    assert fit_power_law(bands * (torch.arange(len(bands)) == 7), FREQUENCIES, weights).exponent.isnan()


def test_fit_power_law_gives_nan_for_too_few_positive_bands():
    bands = torch.zeros(3, 4)
    bands[1, 2] = 1
    bands[2, 1:3] = torch.tensor([4.0, 1.0])
    fit = fit_power_law(bands, torch.tensor([1.0, 1.0, 2.0, 3.0]))
    assert fit.exponent[:2].isnan().all()
    torch.testing.assert_close(fit.exponent[2], torch.tensor(2.0, dtype=torch.float64))
    assert fit.standard_error.isnan().all()


@pytest.mark.unchecked
def test_fit_power_law_refuses_too_few_or_mismatched_bands():
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        fit_power_law(torch.ones(5, 2), torch.ones(2))
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(3,\)"):
        fit_power_law(torch.ones(5, 4), torch.ones(3))
