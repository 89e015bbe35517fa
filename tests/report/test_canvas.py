import math
import re

import pytest

from spectrum_matching.report.canvas import NOTHING, Curve, by_row, curves, estimate, positive_limits

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


@pytest.mark.parametrize(
    ("factor", "scale", "coincide"), [(1.0, "log", True), (1.001, "linear", True), (1.2, "linear", False)]
)
def test_curves_say_which_lines_hide_one_another(factor, scale, coincide):
    y = [1.0, 2.0, 4.0]
    series = [
        Curve([1, 2, 3], values, f"{name}\n{{x}}: {{y}}", {"color": color})
        for name, values, color in (
            ("lower", y, COLOUR),
            ("upper", [factor * each for each in y], "#654321"),
            ("apart", [3.0, 2.0, 1.0], "#111111"),
            ("none", [math.nan] * 3, "#222222"),
            ("nothing", [math.nan] * 3, "#333333"),
        )
    ]
    panel = curves("title", "x", "y", series, y_scale=scale)
    assert re.findall(r">([^<>]* hides [^<]*)<", panel.svg) == ["upper hides lower"] * coincide


def test_curves_take_names_that_are_not_utf8():
    panel = curves("caf\udce9", "x", "y", [Curve([1], [1], "caf\udce9\n{x}: {y}", {})])
    assert "<circle" in panel.svg


def test_positive_limits_leave_zeros_out():
    assert positive_limits([0.0, 3.0, 6.0]) == (2.0, 9.0)
    low, high = positive_limits([0.0])
    assert 0 < low < high


def legend(panel):
    return re.findall(r'<g class="legend"><text[^>]*>([^<]*)</text></g>', panel.svg)


def test_curves_name_each_style_once_in_the_legend_of_a_saved_figure():
    def of(name, entry=None):
        return Curve([1, 2], [1, 2], f"{name}\n{{x}}: {{y}}", {"color": COLOUR}, entry)

    both = curves(
        "title", "x", "y", [of("one"), of("one"), of("two, seed 0", "two"), of("two, seed 1", "two"), of("three", "")]
    )
    assert legend(both) == ["one", "two"]
    assert legend(curves("title", "x", "y", [of("one"), of("three", "")])) == []
    shown, whole = re.search(r'viewBox="([^"]*)" data-whole="([^"]*)"', both.svg).groups()
    assert [float(n) for n in shown.split()] == [0, 0, 316, 238]
    assert float(whole.split()[3]) > 238
    (name,) = legend(curves("title", "x", "y", [of("a" * 90 + "z"), of("two")]))[:1]
    assert len(name) < 60
    assert name.endswith("az")


def test_curves_save_numbers_with_names_gaps_and_errors():
    points = Curve([0.1, 0.2, 0.3], [1.0, math.nan, 1 / 3], "one\n{x}: {y}", {}, errors=[0.25, None, None])
    bar = Curve([0.1, 0.3], [5, 5], "", {})
    panel = curves("title", "cycles  per\nsample", "power", [points, bar])
    assert (
        panel.csv == "series,cycles per sample,power,standard error\none,0.1,1,0.25\none,0.2,nan,\none,0.3,0.3333333,\n"
    )
    assert curves("title", "x", "y", [points._replace(errors=())]).csv.startswith("series,x,y\none,0.1,1\n")


def test_by_row_saves_the_names_of_rows():
    series = [*estimate(0.5, 0.125, 0.8, "first\nturn: 0.5", 0), *estimate(2.0, None, 0.1, "second\nhalf: 2", 1)]
    assert by_row("title", "error", ["half size", "turn"], series).csv == (
        "series,row,error,standard error\nfirst,turn,0.5,0.125\nsecond,half size,2,\n"
    )
