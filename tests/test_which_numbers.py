import json
from pathlib import Path

import pytest

import which_numbers as numbers
from spectrum_matching.metrics.atlas.known_pairs import published_pairs
from spectrum_matching.metrics.catalogue import METRICS
from spectrum_matching.report.analysis.answer import NOT_SHOWN

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture(scope="module")
def trials():
    return json.loads((EXPERIMENTS / "results" / "compare_cifar10.json").read_text())["comparison"]["trials"]


def test_methods_have_autoencoders_of_their_own(trials):
    methods = numbers.by_method(trials)
    assert "curriculum" not in {trial["method"] for each in methods for trial in each}
    digests = [trial["autoencoder_digest"] for each in methods for trial in each]
    assert len(digests) == len(set(digests)) == 27


def test_across_methods_is_the_rank_correlation_of_means(trials):
    perfect = numbers.Predictor("", "", lambda trial: trial["generation"]["scores"]["fid"]["value"], 1)
    to_images, to_reconstructions = numbers.across_methods(trials, perfect)
    assert to_images == pytest.approx(1)
    assert to_reconstructions < 1
    assert numbers.across_methods(trials, perfect._replace(value=lambda trial: None)) is None


@pytest.mark.parametrize("key", numbers.IN_WORDS)
def test_words_of_a_record_say_the_same(key):
    known, evidence = numbers.IN_WORDS[key], METRICS[key].evidence
    assert all(numbers.signed(value) in evidence for value in (known.rho, *known.interval))
    assert str(known.n) in evidence


@pytest.mark.parametrize(
    ("rho", "interval", "sign", "word"),
    [
        (0.8, (0.5, 0.9), 1, "predictive across families"),
        (0.8, (0.5, 0.9), -1, "predicts the opposite of what is claimed across families"),
        (-0.8, (-0.9, -0.5), -1, "predictive across families"),
        (0.3, (0.0, 0.9), 1, "not predictive across families: compare only within one latent shape"),
    ],
)
def test_verdict_follows_sign_and_interval(rho, interval, sign, word):
    predictor = numbers.PREDICTORS[0]._replace(sign=sign)
    assert numbers.verdict(predictor, numbers.Published(rho, interval, 21)) == word


def test_published_pairs_are_counted_by_the_claimed_sign(trials):
    table = numbers.table({"trials": trials})
    assert len(published_pairs()) == 3
    (psnr,) = [line for line in table.splitlines() if line.startswith("| PSNR |")]
    assert "| 0 of 3 |" in psnr  # the better the reconstruction, the worse


def test_first_screen_says_of_spectra_what_the_table_does(trials):
    assert "no spectral metric correlated significantly with our Fréchet distances" in NOT_SHOWN
    bound = numbers.chance(trials)
    spectral = ("gap_scale_free_1", "best_delta", "exponent", "sec_25")
    for predictor in numbers.PREDICTORS:
        if predictor.key in spectral:
            assert max(map(abs, numbers.across_methods(trials, predictor))) < bound, predictor.title
