import pytest

from spectrum_matching.metrics.atlas.known_pairs import (
    PUBLISHED_PAIRS,
    KnownPair,
    Share,
    lower_is_better,
    own_pairs,
    published_pairs,
    share,
)
from spectrum_matching.metrics.atlas.spaces import read_atlas
from spectrum_matching.records.measurement import Measurement


def numbers(value):
    return {"sec_50": Measurement(value)}


def test_published_pairs_are_before_and_after_for_both_models():
    pairs = published_pairs()
    assert tuple(pair.names for pair in pairs) == PUBLISHED_PAIRS
    for pair in pairs:
        for column in ("gfid_sit_b", "gfid_sit_xl", "gfid_sit_b_cfg", "gfid_sit_xl_cfg"):
            assert pair.better[0][column].value < pair.worse[0][column].value


def test_lower_is_better_orders_published_pairs_by_sec_and_not_by_psnr():
    assert share(published_pairs(), lower_is_better("sec_50")) == Share(3, 3, 3)
    assert share(published_pairs(), lower_is_better("interpolation_fid")) == Share(3, 3, 3)
    assert share(published_pairs(), lower_is_better("lds_4n_far6")) == Share(0, 3, 3)
    assert share(published_pairs(), lower_is_better("viv_class")) == Share(1, 1, 3)  # two are impossible


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    [
        ((0.3, 0.4), (0.2, 0.3), Share(1, 1, 1)),
        ((0.2, 0.3), (0.3, 0.4), Share(0, 1, 1)),
        ((0.3, 0.2), (0.2, 0.3), Share(0, 0, 1)),
        ((0.3, 0.3), (0.2, 0.3), Share(0, 0, 1)),
    ],
)
def test_share_wants_the_same_of_every_seed(worse, better, expected):
    pair = KnownPair(("a", "b"), tuple(map(numbers, worse)), tuple(map(numbers, better)))
    assert share([pair], lower_is_better("sec_50")) == expected


@pytest.mark.parametrize("score", ["fid", "kid"])
def test_own_pairs_have_different_autoencoders_and_decided_scores(score):
    trials = {}
    for trial in read_atlas().trials:
        trials.setdefault(trial.method, []).append(trial)
    pairs = own_pairs(score)
    for pair in pairs:
        worse, better = (trials[name] for name in pair.names)
        assert {t.autoencoder for t in worse}.isdisjoint(t.autoencoder for t in better)
        means = [sum(t.scores[score] for t in each) / len(each) for each in (worse, better)]
        assert means[1] < means[0]
        assert len(pair.worse) == len(pair.better) == len(worse)


def test_own_pairs_need_a_score_that_was_taken():
    assert own_pairs("nothing") == []
    assert own_pairs("fid") or own_pairs("kid")
