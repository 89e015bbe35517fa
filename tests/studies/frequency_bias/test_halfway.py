import math

import pytest

from spectrum_matching.studies.frequency_bias.readings import halfway, updates_to

STEPS = (0, 3, 7, 15)


def test_an_error_that_falls_by_a_power_law_is_half_where_the_law_says():
    errors = [8 / (step + 1) for step in STEPS]  # straight between looks
    assert updates_to(STEPS, errors, 4.0) == pytest.approx(1)
    assert halfway(STEPS, errors, 0.0) == pytest.approx(1)
    assert halfway(STEPS, errors, 0.5, "log") == pytest.approx(3)  # √(8 · 0.5) = 2
    assert halfway(STEPS, errors, 1.0) == pytest.approx(8 / 4.5 - 1)


def test_faster_learning_is_sooner():
    slow, fast = ([math.exp(-rate * step) + 0.1 for step in STEPS] for rate in (0.1, 0.4))
    assert halfway(STEPS, fast, 0.1) < halfway(STEPS, slow, 0.1)


def test_scale_plays_no_role():
    errors = [5.0, 3.0, 1.0, 0.5]
    for scale in ("plain", "log"):
        small = halfway(STEPS, [1e-3 * error for error in errors], 1e-3 * 0.5, scale)
        assert small == pytest.approx(halfway(STEPS, errors, 0.5, scale))


def test_what_is_not_learned_has_no_half():
    assert halfway(STEPS, [1.0, 1.0, 1.1, 1.2], 1.2) is None
    assert halfway(STEPS, [1.0, 0.9, 0.9, 0.9], 0.1) is None
    assert updates_to(STEPS, [1.0, 0.9, 0.8, 0.7], 0.5) is None


def test_the_first_crossing_counts():
    assert 0 < halfway(STEPS, [4.0, 1.0, 3.9, 1.0], 1.0) < 3
