"""The ledger of claims is what its program makes of the results, and holds no number that is not in them."""

import ast
import re
import sys
from pathlib import Path

import pytest

from spectrum_matching.records.comparison import order, spread

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = re.compile(
    r"\b(f8|f16|finetune256_|compare cifar10_all|iREPA|1/f|CIFAR-10|delta 2|delta -1|0\.6 mean|1/f\^\w)\b"
)


@pytest.fixture(scope="module")
def claims():
    """The module claims."""
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        import claims
    finally:
        sys.path.remove(str(EXPERIMENTS))
    return claims


@pytest.fixture(scope="module")
def results(claims):
    return claims.load()


@pytest.fixture(scope="module")
def found(claims, results):
    return claims.rows(results)


def test_the_page_is_what_its_program_makes_of_the_results(claims, results, found):
    assert claims.PAGE.read_text() == claims.page(found, results.commits)


def test_the_words_of_the_rows_hold_no_number():
    for name in ("claim_rows.py", "control_rows.py", "claims.py"):
        tree = ast.parse((EXPERIMENTS / name).read_text())
        keys = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys | documented:
                is_key = re.fullmatch(r"[a-z]\w*", node.value)
                assert is_key or not re.search(r"\d", NAMES.sub("", node.value)), (name, node.lineno, node.value)


def test_every_claim_and_every_control_has_a_row_with_a_verdict(found):
    keys = [row.key for row in found]
    assert len(set(keys)) == len(keys)
    for letter in ("A, first", "A, best", "A, cause", "A, perception", "B-i", "B-ii, DSM", "C, failures", "C, VA-VAE"):
        assert letter in keys
    assert {"C, EQ-VAE", "C, Scale Equivariance", "D, energy", "D, DoG", "D, iREPA"} <= set(keys)
    assert len([key for key in keys if key.startswith("control, ")]) == 9
    for row in found:
        assert row.verdict in ("supported at this scale", "not supported", "undecided")
        assert row.because
        assert row.needs
        assert row.measured or row.verdict == "undecided"


def test_what_the_reasons_say_of_the_frequency_bias_is_so(results):
    """The words of a row were written of these numbers; others need other words."""
    bias = results.bias
    images, white, flat, steep, surrogates, weighed, data, control, esm = (
        bias.of(name)
        for name in (
            *("images", "white noise", "images, delta 2", "images, delta -1", "Gaussian surrogates", "loss over power"),
            *("predicts data", "latents of control", "latents of ESM"),
        )
    )
    for case in images:
        halves = [band.half for band in case.bands]
        assert halves[0] == min(halves)
        assert 0 < halves.index(max(halves)) < len(halves) // 2
        remains = [left(case, band) for band in range(len(case.bands))]
        assert min(remains[:-3]) > max(remains[-3:]) > 0
        assert remains[0] > 2 * remains[-1]
    assert data[0].bands[-1].half is None
    assert min(case.rank_correlation.half for case in flat) > 0.5 > max(case.rank_correlation.half for case in images)
    assert all(case.rank_correlation.ratio is None for case in white)
    assert all(ratio(case, -1) < 1 and left(case, -1) < 0 for case in flat)
    assert ratio(surrogates[0], -1) == pytest.approx(ratio(images[0], -1), rel=0.2)
    assert ratio(steep[0], -1) > 5 * ratio(images[0], -1)
    assert left(steep[0], -1) < left(images[0], -1)
    assert ratio(weighed[0], 0) > 5
    assert 1 < ratio(weighed[0], -1) < ratio(images[0], -1)
    damage = {own.metric: own.correlation for own in bias.injected.metrics}
    assert damage.pop("PSNR") is None
    assert damage.pop("SSIM") > 0.8
    assert damage
    assert all(-0.5 < rho < 0 for rho in damage.values())
    slowest = [max(band.half for band in cases[0].bands) for cases in (control, esm)]
    assert slowest[1] < 0.8 * slowest[0]
    assert ratio(esm[0], -1) > 0.95 * ratio(control[0], -1)


def left(case, band):
    return case.bands[band].final_loss - case.bands[band].wiener_loss


def ratio(case, band):
    return case.bands[band].ratio.value


def test_what_the_reasons_say_of_generation_and_of_real_latents_is_so(results):
    compared = results.methods

    def order_of(method, key):
        one, other = (
            spread([t.generation.value(key) for t in compared.of(name)]) for name in (method, compared.control)
        )
        return order(one, other)

    assert order_of("ESM, scale-free", "kid") == "below"
    assert {order_of(name, "fid") for name in ("ESM, paper", "ESM, scale-free", "SD-VAE")} == {"undecided"}
    assert (order_of("DSM", "recall"), order_of("DSM", "spectrum_error")) == ("below", "above")
    means = {name: spread([t.generation.value("fid") for t in compared.of(name)]).mean for name in compared.methods}
    assert max(means, key=means.get) == "EQ-VAE"
    plain, noisy, smooth = (
        [row["numbers"][key]["value"] for key in ("best_delta", "gap_scale_free_1")] for row in results.taef2["rows"]
    )
    assert smooth[0] < plain[0] < noisy[0] < 1
    assert noisy[1] < plain[1] < smooth[1]
    vision = results.unified.of("VA-VAE, gradients")
    assert {vision.change(key).word for key in ("gap_scale_free", "best_gap_scale_free")} == {"undecided", "does not"}
    assert abs(vision.change("psnr").mean) < 0.1
    for name in ("EQ-VAE", "Scale Equivariance"):
        words = [results.unified.of(name).change(key).word for key in ("lowpass_gap", "lowpass_psnr", "psnr")]
        assert words == ["acts", "does not", "lower"]
    exponents = results.esm["losses"]["paper"]["best_exponent"].values()
    assert max(exponents) - min(exponents) > 1.3 - 0.8  # the range of deltas that the paper's code knows


def test_what_the_reasons_say_of_alignment_is_so(results):
    from claim_results import agreed, paired  # the fixture has made it known

    runs, plain = (results.alignment, results.redrawn), "REPA, convolution"

    def word(method, other=None):
        return agreed(paired(runs, method, other))

    passes = [f"DoG {name}{std}" for name in ("band-pass", "high-pass") for std in ("", ", std")]
    assert {word(name, other) for name in passes for other in (plain, "normalised, std", "REPA")} == {"lower"}
    assert {word(name, plain) for name in ("normalised", "normalised, std")} == {"undecided"}
    assert word("DoG band-pass", "DoG high-pass") == "lower"
    dog, irepa = "DoG band-pass, std", "normalised, std"
    assert {word(dog, other) for other in (irepa, "REPA", None)} == {"lower"}
    assert word(irepa, "REPA") == "undecided"
    firsts = [agreed(paired([run], irepa, "REPA")) for run in runs]
    assert firsts[0] != firsts[1]
    assert {word(f"{name}, std", name) for name in ("DoG band-pass", "DoG high-pass")} == {"undecided"}
    assert word(plain, "REPA") != "lower"
    fids, errors = (
        {name: [t.generation.value(key) for t in results.alignment.of(name)] for name in (dog, "none")}
        for key in ("fid", "spectrum_error")
    )
    assert spread(fids["none"]).mean - spread(fids[dog]).mean < max(fids["none"]) - min(fids["none"])
    assert order(spread(errors[dog]), spread(errors["none"])) == "above"
