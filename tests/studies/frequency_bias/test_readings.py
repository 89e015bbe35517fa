from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.spectrum.dct import dct2
from spectrum_matching.studies.frequency_bias.band_errors import (
    band_errors,
    band_power,
    bands_of,
    coefficient_errors,
    error_factors,
    estimates,
    measured_noise,
)
from spectrum_matching.studies.frequency_bias.fields import Fields, gaussian_fields, tilted
from spectrum_matching.studies.frequency_bias.perception import Eyes, band_error, sensitivity_weights
from spectrum_matching.studies.frequency_bias.plans import FrequencyPlan
from spectrum_matching.studies.frequency_bias.readings import (
    band_table,
    fitted_exponent,
    measured_levels,
    ratios_of,
    seen_weights,
)
from spectrum_matching.studies.frequency_bias.record import Look
from spectrum_matching.studies.frequency_bias.run_case import draw, order_of
from spectrum_matching.studies.frequency_bias.wiener import coefficient_moments, wiener_denoiser

PLAN = FrequencyPlan(times=(0.2, 0.5, 0.8))
BANDS = bands_of((16, 16), 6)


@pytest.fixture(scope="module")
def fields():
    return gaussian_fields(600, 200, (2, 16, 16), 2.0)


def rows(errors):
    return tuple(map(tuple, errors.tolist()))


def read(fields, denoiser, untrained=3.0, csf=None):
    """Levels and table of a denoiser whose training began with so many times its errors."""
    path, known = Path(), coefficient_moments(fields.train)
    noise = measured_noise(fields.test)
    own, linear = (
        coefficient_errors(network(known, path), path, fields.test, noise, PLAN.times)
        for network in (denoiser, wiener_denoiser)
    )
    errors = band_errors(denoiser(known, path), path, fields.test, noise, PLAN.times, BANDS)
    factors = error_factors(path, PLAN.times)[0]
    looks = [
        Look(step, None, rows(times * errors), rows(times * errors * factors[:, None]))
        for step, times in ((0, untrained), (7, 1.0))
    ]
    eyes = Eyes(sensitivity_weights(16, 16, 32.0))
    device = torch.device("cpu")
    network = denoiser(known, path)
    levels = measured_levels(
        PLAN, path, network, fields, known, (own.mean(0), linear.mean(0)), BANDS, csf, eyes, device
    )
    power, sampled = band_power(fields.test, BANDS), (torch.zeros(6), torch.zeros(6))
    return levels, band_table(looks, levels, BANDS, power, ratios_of(BANDS.sums(own), BANDS.sums(linear)), sampled)


def test_a_network_that_is_the_wiener_filter_has_ratio_1_in_every_band(fields):
    _, table = read(fields, wiener_denoiser)
    for band in table:
        assert band.ratio.value == pytest.approx(1, abs=1e-12)
        assert band.ratio.standard_error == pytest.approx(0, abs=1e-12)
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
        assert level.relative_error == pytest.approx(level.wiener_relative_error)
        assert level.network is level.seen_share is level.seen_error is None  # no images


def test_an_error_of_one_band_shows_in_that_band_alone_and_in_its_size(fields):
    extra = band_error((1, 2, 16, 16), BANDS, 3, 0.2)

    def disturbed(known, path):
        inner = wiener_denoiser(known, path)
        return lambda noisy, t, labels=None, tap=None: (inner(noisy, t)[0] + extra, None)

    _, table = read(fields, disturbed)
    assert [band.ratio.value for band in table if band is not table[3]] == pytest.approx([1] * 5, abs=1e-4)
    # The velocity errs by 0.2 more, of all 256 coefficients in one band's.
    added = table[3].final_loss - table[3].wiener_loss
    assert added == pytest.approx(0.2**2 * 256 / table[3].coefficients, rel=0.05)
    assert table[3].ratio.value > 1.1


def test_eyes_meet_images_whose_tilt_is_undone(fields):
    eyes = Eyes(sensitivity_weights(16, 16, 32.0))
    weights, naive = (seen_weights(eyes, delta) for delta in (-2.0, 0.0))
    steep = Fields(tilted(fields.train, -2.0), tilted(fields.test, -2.0))
    levels, _ = read(steep, wiener_denoiser, csf=weights)
    blind, _ = read(steep, wiener_denoiser, csf=naive)
    path, known, noise = Path(), coefficient_moments(steep.train), measured_noise(steep.test)
    for level, other in zip(levels, blind, strict=True):
        found = estimates(wiener_denoiser(known, path), path, steep.test, noise, level.time, 64)
        seen, whole = (
            float((eyes.weights * dct2(tilted(own, 2.0)).double().square()).sum())
            for own in (found - steep.test, steep.test)
        )
        assert level.seen_error == pytest.approx(seen / whole, rel=1e-4)
        assert level.seen_error == level.wiener_seen_error
        assert other.seen_error < 0.7 * level.seen_error


def test_a_ratio_has_the_spread_of_the_fields_it_was_measured_on():
    generator = torch.Generator().manual_seed(0)
    linear = 1 + torch.rand(400, 2, 3, generator=generator, dtype=torch.float64)
    steady, loud = ratios_of(2 * linear, linear), ratios_of(2 * linear * linear.flip(0), linear)
    assert [own.value for own in steady] == pytest.approx([2] * 3)
    assert max(own.standard_error for own in steady) < 1e-12
    spread = torch.stack([_ratio(2 * linear * linear.flip(0), linear, generator) for _ in range(300)]).std(0)
    for own, by_hand in zip(loud, spread.tolist(), strict=True):
        assert own.standard_error == pytest.approx(by_hand, rel=0.35)


def _ratio(one, other, generator):
    """Of a bootstrap."""
    chosen = torch.randint(len(one), (len(one),), generator=generator)
    return (one[chosen].mean(0) / other[chosen].mean(0)).log().mean(0).exp()


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_the_best_linear_denoiser_samples_the_spectrum_that_it_knows(exponent):
    known = coefficient_moments(gaussian_fields(2000, 2, (2, 16, 16), exponent).train)
    plan = replace(PLAN, samples=400, sampling_steps=60)
    drawn = draw(wiener_denoiser(known, Path()), Path(), plan, (2, 16, 16), torch.device("cpu"), False)
    covariance = known.covariance.diagonal(dim1=-2, dim2=-1).sum(-1) + known.mean.square().sum(0)
    decibels = 10 * (band_power(drawn, BANDS) / (BANDS.sums(covariance) / 512)).log10()
    assert decibels.abs().max() < 0.5


def test_what_differs_by_less_than_a_tenth_has_no_order_and_what_is_never_learned_comes_last(fields):
    _, table = read(fields, wiener_denoiser)
    found = order_of(table)
    assert found.ratio is None
    assert found.error == pytest.approx(1)
    rising = [replace(band, ratio=Measurement(1 + k / 10, 0.0)) for k, band in enumerate(table)]
    assert order_of(rising).ratio == pytest.approx(1)
    never = replace(table[0].half, to_final=None)
    halves = [replace(band, half=replace(band.half, to_final=6.0 - k)) for k, band in enumerate(table)]
    assert order_of(halves).half == pytest.approx(-1)
    last = [*halves[:5], replace(halves[5], half=never)]
    assert order_of(last).half > -0.5


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
