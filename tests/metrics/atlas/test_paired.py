import pytest

from spectrum_matching.metrics.atlas.known_pairs import Share, own_pairs, published_pairs, share
from spectrum_matching.metrics.atlas.paired import decide, evidence, most_given_up, record, says
from spectrum_matching.metrics.latents.concentration import RHO
from spectrum_matching.records.measurement import Measurement


def numbers(sec, psnr=26.0, error=None, **more):
    found = {"sec_50": Measurement(sec, error), "psnr": Measurement(psnr, 0.1)}
    return found | {key: Measurement(value, error) for key, value in more.items()}


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (numbers(0.209), numbers(0.010), "better"),
        (numbers(0.010), numbers(0.209), "worse"),
        (numbers(0.20, error=0.01), numbers(0.17, error=0.01), "better"),
        (numbers(0.20, error=0.01), numbers(0.18, error=0.01), "cannot say"),
        (numbers(0.2), numbers(0.2), "cannot say"),
        (numbers(0.2), {"psnr": Measurement(26.0)}, "cannot say"),
        (numbers(0.2), numbers(0.1) | {"psnr": Measurement(None, refused="no decoder")}, "cannot say"),
        (numbers(0.2, psnr=27.2), numbers(0.1), "better"),
        (numbers(0.2, psnr=27.3), numbers(0.1), "cannot say"),
        (numbers(0.1), numbers(0.2, psnr=27.3), "cannot say"),
        (numbers(0.1, psnr=27.3), numbers(0.2), "worse"),
        (numbers(0.2, interpolation_fid=50.0), numbers(0.1, interpolation_fid=40.0), "better"),
        (numbers(0.2, interpolation_fid=40.0), numbers(0.1, interpolation_fid=50.0), "cannot say"),
        (numbers(0.2, interpolation_fid=40.0), numbers(0.1), "better"),
    ],
)
def test_decide_follows_the_rule_and_is_antisymmetric(first, second, word):
    assert decide(first, second).word == word
    mirrored = {"better": "worse", "worse": "better"}.get(word, word)
    assert decide(second, first).word == mirrored


def test_decide_names_its_numbers():
    assert decide(numbers(0.209), numbers(0.010)).reason == "SEC at ρ = 0.5 is 0.010 against 0.209"
    assert "no published pair gave up more than 1.2 dB" in decide(numbers(0.2, psnr=29.0), numbers(0.1)).reason
    found = decide(numbers(0.2, interpolation_fid=40.0), numbers(0.1, interpolation_fid=50.0)).reason
    assert found.endswith("but interpolation FID does not confirm it (50 against 40)")


def test_decide_prefers_the_threshold_of_the_published_pairs():
    first, second = ({"psnr": Measurement(26.0), "sec_25": Measurement(sec)} for sec in (0.4, 0.5))
    assert decide(first, second) == ("worse", "SEC at ρ = 0.25 is 0.500 against 0.400")
    assert decide(first | numbers(0.2), second | numbers(0.1)) == ("better", "SEC at ρ = 0.5 is 0.100 against 0.200")
    assert {key for pair in published_pairs() for key in pair.worse[0] if key in RHO} == {"sec_50"}
    assert {key for pair in own_pairs("fid") for key in pair.worse[0] if key in RHO} == {"sec_25"}


def test_most_given_up_is_that_of_the_published_pairs():
    assert most_given_up() == pytest.approx(28.92 - 27.71)


def test_evidence_has_the_shares_of_published_and_own_pairs():
    published, images, reconstructions = (
        share(pairs, says) for pairs in (published_pairs(), own_pairs("fid"), own_pairs("fid_reconstructions"))
    )
    assert (published, images.decided) == (Share(3, 3, 3), 0)
    assert (images.n, reconstructions) == (9, Share(0, 3, 15))
    assert record() == (
        "At ρ = 0.5 it decides 3 (3 rightly) of 3 published pairs; at ρ = 0.25, of ours, none of 9 by "
        "distance to images and 3 (none rightly) of 15 by distance to reconstructions."
    )
    assert record() in evidence()
    assert evidence().endswith("With guidance the question is open.")
