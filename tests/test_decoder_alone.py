import numpy as np
import pytest
from scipy.stats import spearmanr

import decoder_alone as alone
from spectrum_matching.training.autoencoder_config import MethodChoice

NOISE = np.random.default_rng(0).normal(0, 0.1, (3, 8))


def scores(change, noise=NOISE):
    return {seed: (35 + seed + change * np.linspace(0, 1, 8) + row).tolist() for seed, row in enumerate(noise)}


@pytest.mark.parametrize("dose", alone.DOSES)
def test_doses_are_eighths_of_low_passed_updates(dose):
    choice = alone.method(dose)
    assert isinstance(choice, MethodChoice)
    keeps = choice.keep
    assert sum(keep < 15 for keep in keeps) / len(keeps) == dose / 8
    assert {keeps.count(keep) for keep in (7, 5, 3)} == {dose}


def test_rho_is_the_mean_of_spearmans_over_seeds():
    values = scores(-1.0, NOISE * 5)
    rho, p = alone.falls(values)
    assert rho == pytest.approx(np.mean([spearmanr(range(8), each).statistic for each in values.values()]))
    assert 0 < p < 1


def test_p_is_small_for_a_fall_and_large_for_a_rise():
    assert alone.falls(scores(-3.0))[1] < 0.001
    assert alone.falls(scores(3.0))[1] > 0.999


def test_p_is_uniform_without_an_effect():
    rng = np.random.default_rng(1)
    share = np.mean([alone.falls(scores(0.0, rng.normal(0, 1, (3, 8))))[1] < 0.2 for _ in range(100)])
    assert 0.08 < share < 0.34  # of 100 draws with probability 0.2, within 3.5 standard errors


def test_slope_is_the_change_over_the_range_of_doses():
    change, low, high = alone.slope(scores(-2.0, NOISE * 0))
    assert (change, low, high) == (pytest.approx(-2.0), pytest.approx(-2.0), pytest.approx(-2.0))
    change, low, high = alone.slope(scores(-2.0))
    assert low < -2.0 < high
    assert low < change < high


def test_slopes_over_seeds_are_a_t_test_of_each_seeds_own():
    values = {seed: (change * np.linspace(0, 1, 8)).tolist() for seed, change in enumerate((-3.0, -2.0, -1.0))}
    each, low, high = alone.slopes(values)
    assert each == pytest.approx([-3.0, -2.0, -1.0])
    assert ((low + high) / 2, high - low) == (pytest.approx(-2.0), pytest.approx(2 * 4.30265 / 3**0.5))
    assert alone.slopes({0: values[0]})[1] == -np.inf


@pytest.mark.parametrize(
    ("change", "noise", "expected"),
    [
        (-3.0, NOISE, "decoder"),
        (-1.0, NOISE, "undecided"),  # falls, by less than half
        (0.5, NOISE, "encoder"),
        (0.0, NOISE * 60, "undecided"),  # no power
    ],
)
def test_reading_is_as_written_down(change, noise, expected):
    assert alone.reading(scores(change, noise), whole=-4.0) == expected


def test_reading_attributes_no_gain_where_whole_dsm_has_none():
    assert alone.reading(scores(-3.0), whole=0.5) == "undecided"


def test_summary_has_the_seeds_with_all_doses():
    rows = [
        {"seed": seed, "dose": dose, "scores": {"fid": 35.0 - dose + seed, "fid_reconstructions": 5.0 - dose / 8}}
        for seed in (0, 1)
        for dose in alone.DOSES
        if (seed, dose) != (1, 7)
    ]
    whole = [{"seed": seed, "fid": -4.0 - seed, "fid_reconstructions": -4.0} for seed in (0, 1)]
    found = alone.summary(rows, whole)
    assert found["seeds"] == [0]
    assert found["outcomes"]["fid"]["means"] == [35.0 - dose for dose in range(8)]
    assert found["outcomes"]["fid"]["whole"] == -4.0
    assert found["reading"] == "decoder"
    assert alone.summary(rows[-7:], []) == {}
