from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import t as student

import flatten_controls
import paired_differences as paired

EXPERIMENTS = Path(__file__).parents[1] / "experiments"

CONTROL = [35.0, 36.0, 34.5, 35.5]
CHANGES = {"A": [-1.0, -1.2, -0.9, -1.1], "B": [-0.5, 0.6, 0.1, -0.3], "C": [0.2, 0.4, 0.1, 0.3]}


def scores(changes, outcome="fid"):
    found = {("control", seed): {outcome: value} for seed, value in enumerate(CONTROL)}
    return found | {
        (row, seed): {outcome: CONTROL[seed] + change}
        for row, values in changes.items()
        for seed, change in enumerate(values)
    }


def test_interval_is_that_of_the_paired_t_test():
    (test,) = paired.tested(paired.Family("control", ("A",), ("fid",)), scores(CHANGES))
    half = student.ppf(0.975, 3) * np.std(CHANGES["A"], ddof=1) / 2
    assert (test.n, test.mean) == (4, pytest.approx(-1.05))
    assert (test.low, test.high) == (pytest.approx(-1.05 - half), pytest.approx(-1.05 + half))
    assert test.word == "lower"


def test_p_is_corrected_within_the_family_alone():
    alone = {row: paired.tested(paired.Family("control", (row,), ("fid",)), scores(CHANGES))[0].p for row in CHANGES}
    together = {
        each.row: each.p for each in paired.tested(paired.Family("control", (*CHANGES,), ("fid",)), scores(CHANGES))
    }
    assert together["A"] == pytest.approx(3 * alone["A"])
    assert together["C"] == pytest.approx(2 * alone["C"])
    assert together["B"] == pytest.approx(alone["B"])


def test_rows_are_compared_on_the_seeds_that_they_share():
    values = scores({"A": [-1.0, -1.2], "B": [0.5]})
    (test,) = paired.tested(paired.Family("control", ("A", "B", "never run"), ("fid",)), values)
    assert (test.row, test.n) == ("A", 2)
    (alone,) = paired.tested(paired.Family("control", ("A",), ("fid",)), values)
    assert test.p == pytest.approx(3 * alone.p)  # corrected for those that have not run as well


@pytest.mark.parametrize(("is_of_one", "digest"), [(True, "a"), (False, "a"), (False, "b")])
def test_pairs_share_an_autoencoder_where_the_family_says_so(is_of_one, digest):
    family = paired.Family("control", ("A",), ("fid",), is_of_one)
    paired.require_pairs(family, {("control", 0): "a", ("A", 0): digest, ("another", 0): "c"})


def test_pairs_of_two_autoencoders_are_refused():
    family = paired.Family("control", ("A",), ("fid",))
    with pytest.raises(ValueError, match="A, seed 1, is of autoencoder b, control of a"):
        paired.require_pairs(family, {("control", 1): "a", ("A", 1): "b"})


def test_read_scores_refuses_a_trial_that_two_files_have():
    path = EXPERIMENTS / "results" / "compare_cifar10.json"
    scores, autoencoders = paired.read_scores([path])
    assert scores.keys() == autoencoders.keys()
    assert len({autoencoders[name, 0] for name in ("autoencoder", "curriculum", "DSM")}) == 2
    with pytest.raises(ValueError, match="which a file before it has too"):
        paired.read_scores([path, path])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("lower", "lower"), "helps"),
        (("higher", "higher"), "hurts"),
        (("lower", "higher"), "undecided"),
        (("lower", "undecided"), "undecided"),
    ],
)
def test_reading_needs_both_outcomes(words, expected):
    signs = {"lower": (-1.0, 0.01), "higher": (1.0, 0.01), "undecided": (-1.0, 0.05)}
    tests = [
        paired.Paired("A", "control", outcome, 4, signs[word][0], 0.0, 0.0, signs[word][1])
        for word, outcome in zip(words, ("fid", "fid_reconstructions"), strict=True)
    ]
    assert paired.reading(tests, ("A",)) == expected


@pytest.mark.parametrize(("end", "expected"), [(0.2, True), (0.0, False)])
def test_best_dose_is_inside_if_both_ends_are_worse_by_their_error(end, expected):
    noise = np.array([0.1, -0.1, 0.05, -0.05])
    changes = {"control, D minus 0.5": noise + 1, "control, D 0.5": noise * 0 - 0.1}
    changes |= {"control, D 1": noise * 0 - 0.5, "control, D 1.5": noise + end - 0.5}
    assert paired.best_is_inside("control", scores(changes, "fid_reconstructions")) is expected


@pytest.mark.parametrize(("at_one", "expected"), [(-1.05, ["coloured noise"]), (-2.0, []), (0.0, [])])
def test_a_control_carries_what_its_interval_holds(at_one, expected):
    changes = {"coloured noise": CHANGES["A"], "loss weights": CHANGES["B"], "control, D 1": [at_one] * 4}
    found = scores(changes, "fid_reconstructions")
    family = paired.Family("control", ("coloured noise", "loss weights"), ("fid_reconstructions",))
    assert paired.carriers(paired.tested(family, found), found) == expected


def test_loss_weights_alone_are_tested_without_correction():
    seeds = range(4, 8)
    values = {("autoencoder", seed): dict.fromkeys(paired.NAMES, 35.0) for seed in seeds}
    changes = dict(zip(seeds, CHANGES["A"], strict=True))
    values |= {("loss weights", seed): dict.fromkeys(paired.NAMES, 35.0 + changes[seed]) for seed in seeds}
    (alone,) = paired.tested(paired.Family("autoencoder", ("loss weights",), ("fid",)), values)
    tests = [each for family in paired.FAMILIES["loss_weights"] for each in paired.tested(family, values)]
    assert [each.p for each in tests] == 3 * [alone.p]


def test_families_name_rows_of_the_plans():
    plans = {"flatten": "flatten", "flatten_more": "flatten", "flatten_retraining": "flatten"}
    plans |= dict.fromkeys(("flatten_625", "flatten_10000", "flatten_eq_vae"), "flatten")
    plans |= {name: name for name in ("flatten_forms", "centring", "delta", "repa", "repa_shufflenet")}
    known = {
        name: set(yaml.safe_load((EXPERIMENTS / f"{plan}.yaml").read_text())["entries"]) for name, plan in plans.items()
    }
    known["repa"] |= known["repa_shufflenet"]
    known["flatten_controls"] = known["controls_uncentred"] = {"autoencoder", *flatten_controls.CONTROLS}
    known["loss_weights"] = known["flatten_controls"]
    known["flatten_halves"] = known["flatten"] | known["flatten_controls"]
    for name, families in paired.FAMILIES.items():
        assert {entry for family in families for entry in (family.control, *family.rows)} <= known[name]


@pytest.mark.parametrize(
    ("main", "dsm", "expected"),
    [
        (("lower", "lower"), ("undecided", "undecided"), True),
        (("lower", "lower"), ("lower", "lower"), True),
        (("lower", "undecided"), ("undecided", "undecided"), False),
        (("lower", "lower"), ("undecided", "higher"), False),
        (("lower", "lower"), (), False),  # not run
    ],
)
def test_centring_becomes_the_default_if_it_helps_and_does_no_harm(main, dsm, expected):
    sizes = {"lower": (-1.0, 0.01), "higher": (1.0, 0.01), "undecided": (0.1, 0.5)}
    tests = [
        paired.Paired(row, f"{row}, one mean", outcome, 4, sizes[word][0], -2.0, 2.0, sizes[word][1])
        for row, words in (("autoencoder", main), ("DSM", dsm))
        for outcome, word in zip(("fid", "fid_reconstructions"), words, strict=False)
    ]
    assert paired.becomes_default(tests) is expected
