import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import bootstrap, spearmanr

import calibration

EXPERIMENTS = Path(__file__).parents[1] / "experiments"

STRATA = [[0], [1, 2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12], [13, 14, 15, 16, 17, 18], [19, 20, 21], [22, 23]]
METHODS = [f"method {number}" for number, items in enumerate(STRATA) for _ in items]


def settings(seed=0, forecast=None, **predictors):
    """Of 24 settings whose predictors and forecasts are noise, but those given as functions of the distance."""
    generator = np.random.default_rng(seed)
    distance = generator.normal(size=24)
    by_seed = distance[:, None] + 0.05 * generator.normal(size=(24, 2))
    values = {key: generator.normal(size=24) for key in calibration.PREDICTORS}
    values |= {key: make(by_seed.mean(axis=1)) for key, make in predictors.items()}
    outcomes = dict.fromkeys(calibration.OUTCOMES, by_seed.mean(axis=1))
    forecasts = {key: generator.normal(size=24) for key in calibration.FORECASTS}
    forecasts |= {"gaussian": forecast(by_seed.mean(axis=1))} if forecast else {}
    return calibration.Settings(
        [str(i) for i in range(24)],
        METHODS,
        values,
        outcomes,
        dict.fromkeys(outcomes, by_seed),
        dict.fromkeys(outcomes, forecasts),
    )


def test_plan_has_what_was_written_down():
    entries = yaml.safe_load((EXPERIMENTS / "calibration.yaml").read_text())["entries"]
    assert len(entries) == 32
    assert len({json.dumps(entry) for entry in entries.values()}) == 32


def test_entries_are_read_by_method_where_all_seeds_are_finished():
    comparison = json.loads((EXPERIMENTS / "results" / "compare_flatten_uncentred.json").read_text())["comparison"]
    methods = calibration.methods_of(comparison["plan"])
    assert methods["autoencoder, D 1"] == methods["autoencoder"] != methods["DSM"]
    kept = [("autoencoder", 0), ("autoencoder", 1), ("autoencoder, D 1", 0)]
    trials = [each for each in comparison["trials"] if (each["method"], each["seed"]) in kept]
    for trial in trials:
        trial["numbers"]["viv_class"] = 1.0  # of too few images there
    found = calibration.read(trials, methods)
    assert (found.names, found.methods) == (["autoencoder"], ["autoencoder"])
    control = [each for each in trials if each["method"] == "autoencoder"]
    assert found.predictors["psnr"] == pytest.approx([np.mean([each["numbers"]["psnr"] for each in control])])
    distances = [each["generation"]["scores"]["fid"]["value"] for each in control]
    assert found.outcomes["fid"] == pytest.approx([np.mean(distances)])
    forecasts = [each["generative"]["measurements"]["solved_fid"]["value"] for each in control]
    assert found.forecasts["fid"]["solved"] == pytest.approx([np.mean(forecasts)])


def test_a_perfect_number_predicts_and_noise_does_not():
    found = calibration.analysed(settings(noise_psnr=lambda y: -y, rfid=lambda y: np.sin(40 * y)))
    assert found["predicts"] == ["noise_psnr"]
    rows = found["outcomes"]["y1"]["predictors"]
    assert rows["noise_psnr"]["rho"] == pytest.approx(-1)
    assert rows["noise_psnr"]["share"] > 0.99
    assert rows["noise_psnr"]["within"]["rho"] < -0.9
    assert rows["noise_psnr"]["between"] == pytest.approx(-1)
    assert found["outcomes"]["y1"]["ceiling"] > 0.95
    assert 0.4 < found["outcomes"]["y1"]["chance"] < 0.75
    assert len(calibration.table(found).splitlines()) == 2 + len(calibration.PREDICTORS) + len(calibration.FORECASTS)


def test_forecasts_stand_beside_the_rule():
    found = calibration.analysed(settings(forecast=lambda y: y))
    rows = found["outcomes"]["y2"]["forecasts"]
    assert rows["gaussian"]["rho"] == pytest.approx(1)
    assert rows["gaussian"]["exceeds"]
    assert not rows["solved"]["exceeds"]
    assert set(found["outcomes"]["y2"]["predictors"]) == set(calibration.PREDICTORS)
    assert "gaussian" not in found["predicts"]


def test_one_seed_has_no_ceiling():
    both = settings()
    one = both._replace(by_seed={key: values[:, :1] for key, values in both.by_seed.items()})
    found = calibration.analysed(one)
    assert found["outcomes"]["y1"] | {"ceiling": None} == found["outcomes"]["y1"]
    assert found["predicts"] == calibration.analysed(both)["predicts"]


def test_a_number_of_the_wrong_sign_orders_pairs_wrongly():
    wrong = settings(psnr=lambda y: y)
    row = calibration.shares(wrong, "fid")["psnr"]
    assert row["share"] <= 0.5
    assert not row["exceeds"]


def test_what_rfid_says_as_well_is_no_prediction_beyond_it():
    row = calibration.shares(settings(exponent=lambda y: y, rfid=lambda y: y), "fid")["exponent"]
    assert row["share"] > 0.99
    assert row["above_rfid"] == 0
    assert not row["exceeds"]


def test_partial_correlation_removes_what_is_given():
    generator = np.random.default_rng(1)
    cause, one, other = generator.normal(size=(3, 200))
    assert calibration.rho(cause + 0.3 * one, cause + 0.3 * other) > 0.8
    assert abs(calibration.partial(cause + 0.3 * one, cause + 0.3 * other, [cause])) < 0.2
    assert calibration.partial(cause, one, [cause]) == 0


def test_within_pools_methods_with_enough_settings():
    x = np.arange(24.0)
    flipped = x.copy()
    flipped[6:10] = flipped[6:10][::-1]
    assert calibration.within(x, x, [[0, 1, 2]]) is None
    assert calibration.within(x, x, STRATA)["low"] > 0
    # z of (5, 4 and 6 settings): weights 2, 1 and 3; the second is reversed.
    z = [np.arctanh((n * n - 1) / n**2) for n in (5, 4, 6)]
    expected = np.tanh((2 * z[0] - z[1] + 3 * z[2]) / 6)
    assert calibration.within(x, flipped, STRATA)["rho"] == pytest.approx(expected)


def test_interval_agrees_with_scipy_where_there_is_one_stratum():
    generator = np.random.default_rng(2)
    one = generator.normal(size=40)
    other = one + generator.normal(size=40)
    ours = calibration.bca(lambda items: calibration.rho(one[items], other[items]), [range(40)], "test")
    theirs = bootstrap(
        (one, other),
        lambda a, b: spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="BCa",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.04)


def test_items_stay_in_their_strata():
    def first(items):
        return float(sum(item in STRATA[1] for item in items))

    assert calibration.bca(first, STRATA, "test") == [5.0, 5.0]
