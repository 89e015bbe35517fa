import pytest

import flatten_curves


def trial(method, seed, y2, best_delta=0.3):
    scores = {"fid": {"value": 10 * y2}, "fid_reconstructions": {"value": y2}}
    numbers = {"best_delta": best_delta, "exponent": 1.5}
    return {"method": method, "seed": seed, "generation": {"scores": scores}, "numbers": numbers}


def test_curve_is_of_the_seeds_that_have_every_dose():
    found = {"DSM": (5.0, 4.0, 9.0), "DSM, D 1": (3.0, 5.0), "DSM, D minus 0.5": (6.0, 7.0)}
    trials = [trial(name, seed, y2) for name, values in found.items() for seed, y2 in enumerate(values)]
    curve = flatten_curves.curve(trials, "DSM", 2500)
    assert (curve["seeds"], curve["doses"]) == ([0, 1], [-0.5, 0.0, 1.0])
    assert curve["y2"] == [[6.0, 7.0], [5.0, 4.0], [3.0, 5.0]]
    assert (curve["best"], curve["named"]) == (1.0, 0.75)
    assert flatten_curves.curve(trials, "EQ-VAE", 2500) is None
    assert flatten_curves.curve(trials[:3], "DSM", 2500) is None


@pytest.mark.parametrize(("delta", "named"), [(0.13, 0.75), (0.12, 1.0), (-0.13, 1.25)])
def test_the_named_dose_is_rounded_to_a_quarter(delta, named):
    trials = [trial(name, 0, 1.0, delta) for name in ("DSM", "DSM, D 1")]
    assert flatten_curves.curve(trials, "DSM", 2500)["named"] == named
