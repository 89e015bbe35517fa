import pytest

from spectrum_matching.analysis.latent_maps.verdict import DROP_IN, judge
from spectrum_matching.records.latent_maps import Bands, Route
from spectrum_matching.records.measurement import Measurement

NONE = Bands((), (), Measurement(0.0))


def route(kernel, loss, error=0.05, r2=0.7):
    numbers = {"r2": Measurement(r2, 0.01), "r2_fitted": r2 + 0.01 if kernel else None, "bands": NONE, "channels": ()}
    return Route(kernel, **numbers, psnr=Measurement(25 - loss, 0.3), loss=Measurement(loss, error), kept=NONE)


@pytest.mark.parametrize(
    ("losses", "answer", "kernel", "words"),
    [
        ((0.1, 0.1, 0.1), "drop-in", 0, "B is a drop-in for A as it is: A’s latents decode 0.10 dB below"),
        ((9.0, 0.2, 0.1), "after a map", 1, "B is a drop-in for A after a 1 × 1 map: A’s latents decode 0.20 dB below"),
        ((9.0, DROP_IN, 0.1), "after a map", 3, "B is a drop-in for A after a 3 × 3 map"),
        ((9.0, 5.0, DROP_IN), "undecided", 3, "Whether B is a drop-in for A after a 3 × 3 map is undecided"),
        ((9.0, 5.0, 4.2), "no", 0, "B is no drop-in for A, not even after a 3 × 3 map: A’s latents decode 4.20 dB"),
        ((-0.3, 5.0, 4.2), "drop-in", 0, "A’s latents decode 0.30 dB above A’s own reconstructions."),
    ],
)
def test_simplest_route_below_the_threshold_answers(losses, answer, kernel, words):
    verdict = judge("A", "B", "A", [route(k, loss) for k, loss in zip((0, 1, 3), losses, strict=True)], 100, 20)
    assert (verdict.answer, verdict.kernel) == (answer, kernel)
    assert words in verdict.sentence
    assert verdict.sentence.count(". ") == 0
    assert "a drop-in loses less than 0.5 dB to A’s own" in verdict.evidence


@pytest.mark.parametrize(("error", "answer"), [(0.01, "after a map"), (0.2, "undecided")])
def test_interval_decides(error, answer):
    verdict = judge("A", "B", "A", [route(1, DROP_IN - 0.1, error)], 100, 20)
    assert verdict.answer == answer


@pytest.mark.parametrize(("n_tests", "answer"), [(1000, "after a map"), (6, "undecided")])
def test_interval_of_few_images_is_wider(n_tests, answer):
    # 0.1 dB below the threshold: 2.2 standard errors, between those of many images and of six, 1.96 and 2.57.
    verdict = judge("A", "B", "A", [route(1, DROP_IN - 0.1, 0.1 / 2.2)], 100, n_tests)
    assert verdict.answer == answer
    if answer == "undecided":
        assert "decode 0.40 ± 0.12 dB (95 %) below A’s own reconstructions, and" in verdict.sentence


@pytest.mark.parametrize(("r2", "answer"), [(0.08, "no"), (0.45, "no"), (0.505, "undecided"), (0.55, "after a map")])
def test_a_route_that_explains_too_little_is_no_answer(r2, answer):
    assert judge("A", "B", "A", [route(1, -3.0, r2=r2)], 100, 20).answer == answer
