import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.studies.band_errors import band_errors, band_power, bands_of, error_factors, measured_noise
from spectrum_matching.studies.contrast_sensitivity import sensitivity_weights
from spectrum_matching.studies.fields import gaussian_fields
from spectrum_matching.studies.frequency_plans import FrequencyPlan
from spectrum_matching.studies.frequency_readings import band_table, fitted_exponent, measured_levels
from spectrum_matching.studies.seen_errors import Eyes, band_error
from spectrum_matching.studies.wiener import coefficient_moments, wiener_denoiser
from spectrum_matching.study_records.frequency_bias import Look

PLAN = FrequencyPlan(times=(0.2, 0.5, 0.8))
BANDS = bands_of((16, 16), 6)


@pytest.fixture(scope="module")
def fields():
    return gaussian_fields(600, 200, (2, 16, 16), 2.0)


def rows(errors):
    return tuple(map(tuple, errors.tolist()))


def read(fields, denoiser, untrained=3.0):
    """Levels and table of a denoiser whose training began with so many times its errors."""
    path, known = Path(), coefficient_moments(fields.train)
    noise = measured_noise(fields.test)
    errors = band_errors(denoiser(known, path), path, fields.test, noise, PLAN.times, BANDS)
    factors = error_factors(path, PLAN.times)[0]
    looks = [
        Look(step, None, rows(times * errors), rows(times * errors * factors[:, None]))
        for step, times in ((0, untrained), (7, 1.0))
    ]
    eyes = Eyes(sensitivity_weights(16, 16, 32.0))
    device = torch.device("cpu")
    levels = measured_levels(PLAN, path, denoiser(known, path), fields, known, looks[-1], BANDS, eyes, device)
    return levels, band_table(looks, levels, BANDS, band_power(fields.test, BANDS), torch.zeros(6))


def test_a_network_that_is_the_wiener_filter_has_ratio_1_in_every_band(fields):
    _, table = read(fields, wiener_denoiser)
    for band in table:
        assert band.ratio == pytest.approx(1, abs=1e-12)
        assert band.final_loss == pytest.approx(band.wiener_loss, rel=1e-12)
        assert band.final_error == pytest.approx(band.wiener_error, rel=1e-12)
        # From 3 to 1 times the same, in a straight line of logarithms over 0 … 7 updates.
        assert band.half.to_final == pytest.approx(8 ** (torch.tensor(1.5).log() / torch.tensor(3.0).log()) - 1)
        assert band.half.to_final_log == pytest.approx(8**0.5 - 1)
        assert band.half.to_wiener == pytest.approx(band.half.to_final)


def test_what_wiener_promises_is_what_it_does(fields):
    levels, _ = read(fields, wiener_denoiser)
    for level in levels:
        measured, expected, promised = (
            torch.tensor(own) for own in (level.wiener_errors, level.expected_errors, level.promised_errors)
        )
        torch.testing.assert_close(measured, expected, rtol=0.05, atol=0)
        torch.testing.assert_close(promised, expected, rtol=0.1, atol=0)
        assert sum(level.error_share) == pytest.approx(1)
        assert sum(level.seen_share) == pytest.approx(1)
        assert level.network is None  # no images


def test_an_error_of_one_band_shows_in_that_band_alone_and_in_its_size(fields):
    extra = band_error((1, 2, 16, 16), BANDS, 3, 0.2)

    def disturbed(known, path):
        inner = wiener_denoiser(known, path)
        return lambda noisy, t, labels=None, tap=None: (inner(noisy, t)[0] + extra, None)

    _, table = read(fields, disturbed)
    assert [band.ratio for band in table if band is not table[3]] == pytest.approx([1] * 5, abs=1e-4)
    # The velocity errs by 0.2 more, of all 256 coefficients in one band's.
    added = table[3].final_loss - table[3].wiener_loss
    assert added == pytest.approx(0.2**2 * 256 / table[3].coefficients, rel=0.05)
    assert table[3].ratio > 1.1


def test_bands_hold_the_power_and_the_exponent_of_the_fields(fields):
    _, table = read(fields, wiener_denoiser)
    whole = sum(band.power * band.coefficients for band in table) / 256
    assert whole == pytest.approx(float(fields.test.double().square().mean()), rel=1e-9)
    known = coefficient_moments(fields.train)
    fit = fitted_exponent(band_power(fields.train, BANDS), BANDS, known)
    assert fit.value == pytest.approx(2, abs=0.1)


def test_a_first_band_that_holds_dc_alone_has_no_part_in_the_exponent():
    train = gaussian_fields(600, 2, (2, 8, 8), 2.0).train
    bands = bands_of((8, 8), 12)
    assert int(bands.counts[0]) == 1
    assert fitted_exponent(band_power(train, bands), bands, coefficient_moments(train)).value == pytest.approx(
        2, abs=0.1
    )
