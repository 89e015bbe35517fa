import ast
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_matching.analysis.conditions import failures, numbers, read_conditions
from spectrum_matching.analysis.verdict import with_findings
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.records.analysis import FINDING_KEYS


def test_numbers_are_finite_and_named_by_the_catalogue(analysis):
    found = numbers(analysis)
    assert all(map(math.isfinite, found.values()))
    assert found["psnr"] == 100.0
    assert found["lowpass_7"] == 100.0
    assert found["normalised_std"] == pytest.approx(found["std"])
    assert "viv" not in found  # refused for so few images


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("psnr < 101", True),
        ("psnr<100", False),
        ("psnr <= 1e2", True),
        ("best_delta > -.5", True),
        ("best_delta >= 3", False),
        ("scale-undeclared", True),
        ("spectrum-flatter", False),
    ],
)
def test_failures_lists_conditions_that_hold(text, fails, analysis):
    lines = failures(read_conditions([text]), [analysis])
    assert bool(lines) == fails
    assert all(line.startswith("same: ") for line in lines)


def test_failures_lists_conditions_that_cannot_be_checked(analysis):
    (line,) = failures(read_conditions(["viv > 5"]), [analysis])
    assert line.startswith("same: viv > 5 cannot be checked: 6 images")
    (line,) = failures(read_conditions(["lpips > 5"]), [analysis])
    assert line == "same: lpips > 5 cannot be checked: it was not measured"


def test_failures_give_the_reason_of_refused_numbers_of_samples(analysis):
    sample = replace(analysis.view("mean"), kind="sample")
    (line,) = failures(read_conditions(["viv_sample > 5"]), [replace(analysis, views=(*analysis.views, sample))])
    assert line.startswith("same: viv_sample > 5 cannot be checked: 6 images")


def test_finding_keys_are_those_of_the_verdict():
    source = Path(sys.modules[with_findings.__module__].__file__).read_text()
    written = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert set(FINDING_KEYS) <= written


@pytest.mark.parametrize("text", ["psnr", "psnr = 3", "psnr < many", "< 3", "psnr < 3 dB", "nonsense < 3"])
def test_read_conditions_refuses_anything_else_in_one_line(text):
    with pytest.raises(ValueError, match=r"is not a condition|nothing measured is called") as caught:
        read_conditions([text])
    assert "\n" not in str(caught.value)


def test_numbers_have_the_keys_that_the_page_lists(analysis):
    page = (Path(__file__).parents[2] / "docs" / "analyze.md").read_text()
    rows = [line for line in page.partition("Its keys:")[2].splitlines() if line.startswith("| `")]
    keys = {key for row in rows for key in re.findall("`([a-z0-9_]+)`", row.split("|")[1])}
    keys |= {f"{key}_reconstructions" for key in keys if re.fullmatch(r"\w+_fid(_unit)?", key)}
    assert keys - {"_reconstructions", "normalised_std"} == METRICS.keys()
    assert {re.sub(r"lowpass_\d+", "lowpass_gap", key.removesuffix("_sample")) for key in numbers(analysis)} <= keys
