import math
from dataclasses import replace

import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.studies.frequency_bias.band_errors import (
    band_sums,
    band_table,
    coefficient_power,
    halfway,
    held_out_noise,
    jackknife_ratios,
    loss_factors,
    radial_bands,
    rank_correlations,
    squared_errors,
)
from spectrum_matching.studies.frequency_bias.fields import coefficient_moments, gaussian_fields, wiener_denoiser
from spectrum_matching.studies.frequency_bias.perception import band_error
from spectrum_matching.studies.frequency_bias.record import EvalPoint, NoiseLevel

TIMES, BANDS = (0.2, 0.5, 0.8), radial_bands((16, 16), 6)
STEPS = (0, 3, 7, 15)


@pytest.fixture(scope="module")
def fields():
    return gaussian_fields(600, 200, (2, 16, 16), 2.0)


def rows(errors):
    return tuple(map(tuple, errors.tolist()))


def table(fields, denoiser, untrained=3.0):
    """The bands of a denoiser whose training began with `untrained` times its errors."""
    path, moments = Path(), coefficient_moments(fields.train)
    errors, wiener_errors = (
        band_sums(squared_errors(network, path, fields.test, held_out_noise(fields.test), TIMES), BANDS)
        for network in (denoiser(moments, path), wiener_denoiser(moments, path))
    )
    evals = [EvalPoint(step, rows(times * errors.mean(0))) for step, times in ((0, untrained), (7, 1.0))]
    factors, linear = loss_factors(path, TIMES).tolist(), rows(wiener_errors.mean(0))
    levels = [NoiseLevel(t, f, row, 0.0, 0.0, None, None) for t, f, row in zip(TIMES, factors, linear, strict=True)]
    ratios = jackknife_ratios(errors, wiener_errors)
    power = band_sums(coefficient_power(fields.test), BANDS)
    return band_table(evals, levels, BANDS, power, ratios, torch.ones(6), torch.zeros(6))


def test_band_table_of_the_wiener_filter_has_ratio_1_in_every_band(fields):
    for band in table(fields, wiener_denoiser):
        assert band.ratio.value == pytest.approx(1, abs=1e-12)
        assert band.ratio.standard_error == pytest.approx(0, abs=1e-12)
        assert band.final_loss == pytest.approx(band.wiener_loss, rel=1e-12)
        # From 3 to 1 times the same, in a straight line of logarithms over 0 … 7 updates.
        assert band.half == pytest.approx(8 ** (math.log(1.5) / math.log(3)) - 1)
        assert band.sampled_decibels == 0
        assert band.wiener_sampled_decibels is None


def test_band_table_shows_an_error_of_one_band_there_alone(fields):
    extra = band_error((1, 2, 16, 16), BANDS, 3, 0.2)

    def disturbed(moments, path):
        inner = wiener_denoiser(moments, path)
        return lambda noisy, t, labels=None, tap=None: (inner(noisy, t)[0] + extra, None)

    bands = table(fields, disturbed)
    assert [band.ratio.value for band in bands if band is not bands[3]] == pytest.approx([1] * 5, abs=1e-4)
    # The velocity errs by 0.2 more, of all 256 coefficients in one band's.
    added = bands[3].final_loss - bands[3].wiener_loss
    assert added == pytest.approx(0.2**2 * 256 / bands[3].coefficients, rel=0.05)
    assert bands[3].ratio.value > 1.1


def test_band_table_holds_the_power_of_the_fields(fields):
    whole = sum(band.power * band.coefficients for band in table(fields, wiener_denoiser)) / 256
    assert whole == pytest.approx(float(fields.test.double().square().mean()), rel=1e-9)


def test_jackknife_ratios_have_the_spread_of_the_fields():
    generator = torch.Generator().manual_seed(0)
    linear = 1 + torch.rand(400, 2, 3, generator=generator, dtype=torch.float64)
    steady, loud = jackknife_ratios(2 * linear, linear), jackknife_ratios(2 * linear * linear.flip(0), linear)
    assert [own.value for own in steady] == pytest.approx([2] * 3)
    assert max(own.standard_error for own in steady) < 1e-12
    spread = torch.stack([_ratio(2 * linear * linear.flip(0), linear, generator) for _ in range(300)]).std(0)
    for own, by_hand in zip(loud, spread.tolist(), strict=True):
        assert own.standard_error == pytest.approx(by_hand, rel=0.35)


def _ratio(one, other, generator):
    """One draw of a bootstrap."""
    chosen = torch.randint(len(one), (len(one),), generator=generator)
    return (one[chosen].mean(0) / other[chosen].mean(0)).log().mean(0).exp()


def test_rank_correlations_need_a_tenth_and_put_the_unlearned_last(fields):
    bands = table(fields, wiener_denoiser)
    correlation = rank_correlations(bands)
    assert correlation.ratio is None
    assert correlation.error == pytest.approx(1)
    rising = [replace(band, ratio=Measurement(1 + k / 10, 0.0)) for k, band in enumerate(bands)]
    assert rank_correlations(rising).ratio == pytest.approx(1)
    falling = [replace(band, half=6.0 - k) for k, band in enumerate(bands)]
    assert rank_correlations(falling).half == pytest.approx(-1)
    last = [*falling[:5], replace(falling[5], half=None)]
    assert rank_correlations(last).half > -0.5


@pytest.mark.parametrize(("spread", "ordered"), [(1.09, False), (1.11, True)])
def test_rank_correlations_threshold(fields, spread, ordered):
    bands = [replace(b, half=1 + (spread - 1) * k / 5) for k, b in enumerate(table(fields, wiener_denoiser))]
    assert (rank_correlations(bands).half is not None) == ordered


def test_halfway_of_a_power_law_is_where_the_law_says():
    errors = [8 / (step + 1) for step in STEPS]  # straight between evaluations
    assert halfway(STEPS, [error + 0.0 for error in errors]) == pytest.approx(8 / 4.25 - 1)
    assert halfway((0, 7, 15), [8.0, 1.0, 0.0]) == pytest.approx(1)


def test_halfway_is_sooner_for_faster_learning():
    slow, fast = ([math.exp(-rate * step) + 0.1 for step in STEPS] for rate in (0.1, 0.4))
    assert halfway(STEPS, fast) < halfway(STEPS, slow)


def test_halfway_does_not_depend_on_scale():
    errors = [5.0, 3.0, 1.0, 0.5]
    assert halfway(STEPS, [1e-3 * error for error in errors]) == pytest.approx(halfway(STEPS, errors))


def test_halfway_of_what_is_not_learned_is_none():
    assert halfway(STEPS, [1.0, 1.0, 1.1, 1.2]) is None
    assert halfway(STEPS, [1.0, 0.9, 0.9, 1.0]) is None


def test_halfway_takes_the_first_crossing():
    assert 0 < halfway(STEPS, [4.0, 1.0, 3.9, 1.0]) < 3
