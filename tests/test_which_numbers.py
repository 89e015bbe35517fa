import json

import pytest

import which_numbers as numbers
from spectrum_matching.metrics.atlas.known_pairs import published_pairs
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.report.analysis.answer import NOT_SHOWN


@pytest.fixture(scope="module")
def calibration():
    return json.loads(numbers.RESULT.read_text())


def test_numbers_are_metrics_of_the_catalogue():
    assert set(numbers.SIGNS) - set(METRICS) == {"lowpass_3"}  # one of the doses of a metric


@pytest.mark.parametrize("key", numbers.IN_WORDS)
def test_words_of_a_record_say_the_same(key):
    known, evidence = numbers.IN_WORDS[key], METRICS[key].evidence
    assert all(numbers.signed(value) in evidence for value in (known.rho, *known.interval))
    assert str(known.n) in evidence


@pytest.mark.parametrize(
    ("rho", "interval", "sign", "word"),
    [
        (0.8, (0.5, 0.9), 1, "predictive"),
        (0.8, (0.5, 0.9), -1, "predicts the opposite"),
        (-0.8, (-0.9, -0.5), -1, "predictive"),
        (0.3, (0.0, 0.9), 1, "not predictive"),
    ],
)
def test_across_families_follows_sign_and_interval(rho, interval, sign, word):
    assert numbers.across(sign, numbers.Published(rho, interval, 21)) == word


@pytest.mark.parametrize(
    ("predicts", "intervals", "word"),
    [
        (["psnr"], ([-0.9, -0.5], [-0.9, -0.5]), "predictive"),
        ([], ([-0.9, -0.5], [-0.9, -0.5]), "not shown"),  # correlated, but not by the rule
        ([], ([0.1, 0.9], [0.1, 0.9]), "predicts the opposite"),
        ([], ([0.1, 0.9], [0.0, 0.9]), "not shown"),
    ],
)
def test_at_one_shape_follows_the_rule_and_both_intervals(predicts, intervals, word):
    y1, y2 = ({"predictors": {"psnr": {"interval": ends}}} for ends in intervals)
    document = {"predicts": predicts, "seeds": [0, 1], "outcomes": {"y1": y1, "y2": y2}}
    assert numbers.at_one_shape("psnr", document) == word
    assert numbers.at_one_shape("psnr", document | {"seeds": [0]}) == word.replace("predictive", "passes so far")
    assert numbers.at_one_shape("probe_accuracy", {}) == "untested"


def test_published_pairs_are_counted_by_the_claimed_sign(calibration):
    assert len(published_pairs()) == 3
    (psnr,) = [line for line in numbers.table(calibration).splitlines() if line.startswith("| PSNR |")]
    assert "| 0 of 3 |" in psnr  # the better the reconstruction, the worse


def test_first_screen_says_of_spectra_what_the_table_does(calibration):
    assert "no metric of the latents’ spectrum" in NOT_SHOWN
    of_spectra = {"gap_scale_free_1", "best_delta", "exponent", "sec_25"}
    assert of_spectra <= set(calibration["outcomes"]["y1"]["predictors"])
    assert not of_spectra & set(calibration["predicts"])


def test_definitions_that_the_board_lacks_take_none_of_its_numbers(calibration):
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in numbers.table(calibration).splitlines()}
    ours, boards = rows["SEC at 0.25"].split(" | "), rows["SEC at 0.5"].split(" | ")
    assert ours[2:4] == ["–", "–"]
    assert boards[3:7] == ["3 of 3", "–", "–", "–"]
    assert boards[2] == "−0.14 [−0.55, 0.28], n = 21"


def test_evidence_of_interpolation_is_the_calibrations(calibration):
    found, n = calibration["outcomes"]["y1"]["forecasts"]["interpolation"], len(calibration["settings"])
    said = METRICS["interpolation_fid"].evidence
    assert said.endswith(f"ours: over {n} small autoencoders of one shape {numbers.signed(found['rho'])}")
