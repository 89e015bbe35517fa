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


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """For speed; the least p of 20 shuffles still is below 5 %."""
    monkeypatch.setattr(calibration, "SHUFFLES", 20)
    monkeypatch.setattr(calibration, "DRAWS", 200)


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


@pytest.fixture(scope="module")
def comparison():
    text = (EXPERIMENTS / "results" / "compare_flatten_uncentred.json").read_text()
    found = json.loads(text)["comparison"]
    for trial in found["trials"]:
        trial["numbers"]["viv_class"] = 1.0  # of too few images there
    return found


def test_settings_are_read_by_method_at_the_seeds_asked_for(comparison):
    methods = calibration.methods_of(comparison["plan"])
    assert methods["autoencoder, D 1"] == methods["autoencoder"] != methods["DSM"]
    names = ("autoencoder", "autoencoder, D 1")
    found = calibration.read(comparison["trials"], {name: methods[name] for name in names}, [0, 1])
    assert (found.names, found.methods) == ([*names], ["autoencoder", "autoencoder"])
    control = [each for each in comparison["trials"] if each["method"] == "autoencoder" and each["seed"] < 2]
    assert found.predictors["psnr"][0] == pytest.approx(np.mean([each["numbers"]["psnr"] for each in control]))
    distances = [each["generation"]["scores"]["fid"]["value"] for each in control]
    assert found.by_seed["fid"][0] == pytest.approx(distances)
    assert found.outcomes["fid"][0] == pytest.approx(np.mean(distances))
    forecasts = [each["generative"]["measurements"]["solved_fid"]["value"] for each in control]
    assert found.forecasts["fid"]["solved"][0] == pytest.approx(np.mean(forecasts))


def test_a_seed_that_lacks_a_setting_is_not_whole(comparison):
    trials = [each for each in comparison["trials"] if (each["method"], each["seed"]) != ("DSM", 1)]
    assert calibration.whole_seeds(trials, ["autoencoder", "DSM"]) == [0, 2, 3]
    assert calibration.whole_seeds(trials, ["autoencoder"]) == [0, 1, 2, 3]


def test_what_a_named_seed_lacks_is_said(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["calibration.py", "compare_flatten_forms", "--seeds", "9"])
    with pytest.raises(SystemExit):
        calibration.main()
    assert "compare_flatten_forms lacks 6 trials: autoencoder, seed 9; " in capsys.readouterr().err


def test_a_perfect_number_predicts_and_noise_does_not():
    found = calibration.analysed(settings(noise_psnr=lambda y: -y, rfid=lambda y: np.sin(40 * y)))
    assert found["predicts"] == ["noise_psnr"]
    rows = found["outcomes"]["y1"]["predictors"]
    assert rows["noise_psnr"]["rho"] == pytest.approx(-1)
    assert rows["noise_psnr"]["share"] > 0.98
    assert rows["noise_psnr"]["p"] == pytest.approx(1 / 21)
    assert rows["exponent"]["p"] > 0.2
    assert found["predicts_as_registered"] == ["noise_psnr"]
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


def test_an_uninformative_number_is_right_of_half_of_the_pairs():
    """Where neither method of a pair is in the fit; where one is, of more, which its distances are fitted to."""
    generator, strata = np.random.default_rng(3), STRATA[1:6]

    def share(of_both):
        x, y = generator.permutation(24)[:23].astype(float), generator.normal(size=23)
        right, counted = calibration.ordered(x, y, calibration.folds(x, strata, of_both=of_both), len(strata))
        return right.sum() / counted.sum()

    both, one = (np.array([share(of_both) for _ in range(200)]) for of_both in (True, False))
    error = both.std() / 200**0.5
    assert abs(both.mean() - 0.5) < 3 * error
    assert one.mean() > 0.5 + 3 * error


def test_a_share_beyond_rfids_may_still_be_chance(monkeypatch):
    lucky = settings(noise_psnr=lambda y: -y, rfid=lambda y: np.sin(40 * y))
    assert calibration.described(lucky, "fid")["noise_psnr"]["exceeds"]
    monkeypatch.setattr(calibration, "largest_shares", lambda *_: np.ones(20))
    assert not calibration.described(lucky, "fid")["noise_psnr"]["exceeds"]


def test_what_rfid_says_as_well_is_no_prediction_beyond_it():
    row = calibration.shares(settings(exponent=lambda y: y, rfid=lambda y: y), "fid")["exponent"]
    assert row["share"] > 0.98
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


def test_interval_agrees_with_scipy_where_there_is_one_stratum(monkeypatch):
    monkeypatch.setattr(calibration, "DRAWS", 2000)
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
