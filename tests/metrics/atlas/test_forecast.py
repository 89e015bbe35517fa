import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from spectrum_matching.metrics.atlas.forecast import MODELS, PREDICTORS, calibrate, calibrations, forecast, support
from spectrum_matching.metrics.atlas.spaces import BOARD, read_atlas


def table(column, predictors):
    """The board's rows that have all numbers: names, features (n, p), log of the column (n,)."""
    rows = [(s.name, [s.numbers.get(key) for key in (*predictors, column)]) for s in read_atlas().of(BOARD)]
    rows = [(name, numbers) for name, numbers in rows if None not in numbers]
    numbers = np.array([numbers for _, numbers in rows])
    return [name for name, _ in rows], numbers[:, :-1], np.log(numbers[:, -1])


def refitted(features, y):
    """What least squares says of each row when it is fitted without it."""
    design, said = np.column_stack([np.ones(len(y)), features]), []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        said.append(design[i] @ np.linalg.lstsq(design[others], y[others], rcond=None)[0])
    return np.array(said)


@pytest.mark.parametrize(
    ("column", "predictors", "n", "rho"),
    [
        ("gfid_sit_b", PREDICTORS, 21, 0.84),
        ("gfid_sit_b", PREDICTORS[:1], 21, 0.75),
        ("gfid_sit_xl", PREDICTORS, 22, 0.78),
        ("gfid_sit_b_cfg", PREDICTORS, 21, 0.60),
        ("gfid_sit_xl_cfg", PREDICTORS, 21, 0.50),
    ],
)
def test_calibrate_leaves_each_tokenizer_out(column, predictors, n, rho):
    calibration = calibrate(column, predictors)
    names, features, y = table(column, predictors)
    assert calibration.names == tuple(names)
    assert len(names) == n
    expected = refitted(features, y)
    np.testing.assert_allclose(calibration.left_out, expected, rtol=1e-9)
    assert calibration.loo_rho == pytest.approx(spearmanr(expected, y).statistic)
    assert calibration.loo_rho == pytest.approx(rho, abs=0.006)


def test_half_width_holds_four_fifths_of_the_left_out():
    for calibration in calibrations().values():
        residuals = (calibration.log_fid - calibration.left_out).abs()
        n = len(residuals)
        assert 0.8 <= int((residuals <= calibration.half_width).sum()) / n <= 0.8 + 2 / n


@pytest.mark.parametrize("model", MODELS)
def test_forecast_of_a_calibrated_tokenizer_is_the_fit(model):
    names, features, y = table(MODELS[model], PREDICTORS)
    index = names.index("VA-VAE")
    found = {f.model: f for f in forecast(dict(zip(PREDICTORS, features[index], strict=True)))}[model]
    design = np.column_stack([np.ones(len(y)), features])
    assert math.log(found.value) == pytest.approx(design[index] @ np.linalg.lstsq(design, y, rcond=None)[0])
    assert found.low < found.value < found.high
    assert found.high / found.value == pytest.approx(found.value / found.low)
    assert found.n == len(names)
    assert f"Spearman {found.loo_rho:.2f}" in found.evidence


def test_forecast_reads_in_one_line():
    both = forecast({"interpolation_fid": 43.59, "psnr": 26.1})
    assert [str(each) for each in both] == [
        "SiT-B without guidance: FID about 30 (80 %: 20 … 46)",
        "SiT-XL without guidance: FID about 16 (80 %: 8.6 … 29)",
    ]


def test_forecast_refuses_outside_of_its_support():
    covered = support()
    inside = {key: sum(ends) / 2 for key, ends in covered.items()}
    assert forecast(inside)
    for key, (low, high) in covered.items():
        assert forecast(inside | {key: low})
        assert forecast(inside | {key: high})
        for beyond in (low - 0.1, high + 0.1):
            with pytest.raises(ValueError, match=f"is {beyond:.4g}, outside of the {low:g} … {high:g} of the public"):
                forecast(inside | {key: beyond})
