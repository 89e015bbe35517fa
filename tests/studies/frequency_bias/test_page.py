import re
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_matching.records.measurement import Measurement
from spectrum_matching.studies.frequency_bias.page import findings, frequency_page
from spectrum_matching.studies.frequency_bias.record import FREQUENCY_BIAS

RESULTS = Path(__file__).parents[3] / "experiments" / "results"


@pytest.fixture(scope="module")
def study():
    return FREQUENCY_BIAS.read(RESULTS / "frequency_bias_cifar10.json")


def test_findings_name_cases_by_the_order_of_their_bands(study):
    ordered, highest = findings(study)
    low, high, neither = re.fullmatch(
        r"Learned low bands first: (.*); high bands first: (.*); in neither order: (.*)\. An order .*", ordered
    ).groups()
    assert "'images, delta 2'" in low
    assert "predicts data" in low
    assert high == "loss times f^1, loss over power"
    assert neither == f"{len(study.names) - 8} cases, images among them"
    images, noise = ([case.bands[-1].ratio.value for case in study.of(name)] for name in ("images", "white noise"))
    assert f"{images[0]:.2f} and {images[1]:.2f} for images" in highest
    assert f"{noise[0]:.2f} and {noise[1]:.2f} for white noise" in highest


def test_findings_leave_out_what_is_not_there(study):
    (case,) = study.of("predicts data")
    assert findings(replace(study, cases=(case,)))[0].startswith("Learned low bands first: predicts data. An order")
    few = replace(study, cases=(*study.of("images"), *study.of("white noise")))  # of one seed's noise there is no order
    assert findings(few)[0].startswith("Learned in neither order: images, white noise. An order")
    images = study.of("images")[0]
    refused = replace(images.bands[-1], ratio=Measurement(None, refused="not finite"))
    unknown = replace(images, bands=(*images.bands[:-1], refused))
    (only,) = findings(replace(study, cases=(unknown,)))
    assert only.startswith("Learned in neither order: images. An order")


def test_frequency_page_begins_with_findings(study):
    page = frequency_page(replace(study, cases=study.of("images")))
    first = re.search(r"<h1>.*?</h1>\s*<p class=size>(.*?)</p>", page, flags=re.DOTALL)[1]
    assert first.startswith("Learned in neither order: images.")
