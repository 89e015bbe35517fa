import math

import pytest

from spectrum_matching.report.canvas import NOTHING, Curve, curves, positive_limits

COLOUR = "#123456"


def strokes(panel):
    """Number of unbroken parts of the line."""
    return panel.svg.split(f"stroke: {COLOUR}")[0].rsplit("<path", 1)[1].count("M ")


def drawn(y, scale):
    line = Curve([0.1, 0.2, 0.3, 0.4, 0.5], y, "name\n{x}: {y}", {"color": COLOUR})
    return curves("title", "x", "y", [line], y_scale=scale)


@pytest.mark.parametrize(
    ("y", "scale", "n"),
    [
        ([1, 2, 3, 4, 5], "log", 1),
        ([1, 2, 0, 4, 5], "log", 2),
        ([1, 2, -1, 4, 5], "log", 2),
        ([1, 2, math.nan, 4, 5], "log", 2),
        ([1, 2, 0, 4, 5], "linear", 1),
        ([1, 2, math.inf, 4, 5], "linear", 2),
    ],
)
def test_curves_leave_a_gap_for_a_point_that_cannot_be_drawn(y, scale, n):
    panel = drawn(y, scale)
    assert strokes(panel) == n
    assert panel.svg.count("<circle") == sum(math.isfinite(value) and (value > 0 or scale == "linear") for value in y)
    assert NOTHING not in panel.svg


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("series", [[], [Curve([], [], "name\n{x}: {y}", {})], [Curve([1, 2], [math.nan] * 2, "", {})]])
def test_curves_without_points_say_so(series, scale):
    panel = curves("title", "x", "y", series, y_scale=scale, level=(1, "#654321"))
    assert NOTHING in panel.svg


def test_curves_take_names_that_are_not_utf8():
    panel = curves("caf\udce9", "x", "y", [Curve([1], [1], "caf\udce9\n{x}: {y}", {})])
    assert "<circle" in panel.svg


def test_positive_limits_leave_zeros_out():
    assert positive_limits([0.0, 3.0, 6.0]) == (2.0, 9.0)
    low, high = positive_limits([0.0])
    assert 0 < low < high
