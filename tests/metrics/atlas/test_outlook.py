from dataclasses import replace

import pytest
import torch
from torch import nn

from spectrum_matching.analysis import analyze
from spectrum_matching.metrics.atlas.forecast import forecast
from spectrum_matching.metrics.atlas.outlook import outlook, pair_verdicts, places, statements
from spectrum_matching.metrics.atlas.paired import evidence, record
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.generative import Generative
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.spectrum.filters import gaussian_blur


class Blurred(nn.Module):
    """Latents are blurred images."""

    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def encode(self, x):
        return gaussian_blur(x, self.sigma) if self.sigma else x

    def decode(self, z):
        return z


@pytest.fixture(scope="module")
def images():
    return torch.rand(8, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def plain(images):
    return analyze(Blurred(0.0), images, name="plain")


@pytest.fixture(scope="module")
def blurred(images):
    return analyze(Blurred(0.6), images, name="blurred")


def with_psnr(analysis, value):
    measured = {**analysis.decoding.measurements, "psnr": Measurement(value, 0.01)}
    return replace(analysis, decoding=replace(analysis.decoding, measurements=measured))


def as_f8(analysis, size=256, channels=4):
    """The analysis as if of latents of 4 channels at f8."""
    return replace(
        analysis,
        subject=replace(analysis.subject, factor=8, channels=channels),
        sample=replace(analysis.sample, size=size),
        latent_shape=(channels, size // 8, size // 8),
    )


def test_pair_verdicts_compare_each_subject_with_the_first_of_its_shape(plain, blurred):
    same = with_psnr(plain, 26.0)
    better = with_psnr(blurred, 25.5)
    (verdict,) = pair_verdicts([same, better])
    assert (verdict.first, verdict.second, verdict.word) == ("plain", "blurred", "better")
    assert str(verdict).startswith(
        "A rule from published pairs ranks blurred above plain for generation without guidance: SEC at ρ = 0.25 is 0."
    )
    assert str(verdict).endswith(f". {record()}")
    assert verdict.evidence == evidence()
    (verdict,) = pair_verdicts([better, same])
    assert str(verdict).startswith(
        "A rule from published pairs ranks plain below blurred for generation without guidance: SEC at ρ = 0.25 is 0."
    )
    assert len(pair_verdicts([same, better, same])) == 2


def test_pair_verdicts_do_not_praise_lost_detail(plain, blurred):
    (verdict,) = pair_verdicts([plain, blurred])
    assert verdict.word == "cannot say"
    assert str(verdict).startswith(
        "We cannot say whether blurred will diffuse better than plain: SEC at ρ = 0.25 is 0."
    )
    assert "dB less PSNR" in verdict.reason


def test_pair_verdicts_need_one_shape_and_the_same_images(plain, blurred, images):
    assert not pair_verdicts([plain])
    assert not pair_verdicts([plain, replace(blurred, latent_shape=(3, 12, 12))])
    assert not pair_verdicts([plain, analyze(Blurred(0.6), images.flip(0)[:7], name="others")])
    assert not pair_verdicts([replace(a, sample=replace(a.sample, digest="")) for a in (plain, blurred)])


def test_places_names_ranks_or_says_why_there_are_none(plain):
    found, refused = places(as_f8(plain))
    assert found[0].title == "PSNR"
    assert not refused
    assert places(as_f8(plain, channels=5)) == ([], "the atlas has no other latent space with 5 channels at f8")
    assert places(as_f8(plain, size=64))[1].endswith("were measured on images of 256 pixels, and these have 64")
    assert not places(replace(plain, subject=replace(plain.subject, factor=0)))[0]


def as_published(analysis, ifid=43.59, psnr=26.1, n_images=50_000, n_reference=1_281_167, **protocol):
    """The analysis as if of ImageNet's validation images by the board's protocol."""
    facts = {"reference": "train", "reference_digest": "r", "holds": "sample", "n_evaluated": n_images}
    facts |= {"n_generated": n_images, "extractor": "inception", "extractor_digest": "e", "resizer": "r"} | protocol
    generative = Generative(
        measurements={"interpolation_fid": Measurement(ifid)}, coverage=Coverage(n_reference, n_reference), **facts
    )
    return replace(with_psnr(as_f8(analysis), psnr), generative=generative)


def test_outlook_forecasts_what_was_measured_as_published(plain):
    found = outlook(as_published(plain))
    assert found == (forecast({"interpolation_fid": 43.59, "psnr": 26.1}), "")
    said, _ = statements(as_published(plain))
    assert said.text == "; ".join(map(str, found.forecasts))
    assert said.evidence.count("each left out in turn") == 2
    assert outlook(as_published(plain, n_reference=1_280_000)).forecasts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"extractor": "dinov2"},
            "calibrated only for Inception’s features; these were measured with features of dinov2",
        ),
        ({"extractor": ""}, "these were measured with features of an unnamed function"),
        ({"n_images": 49_999}, "50,000 images of ImageNet’s validation part; these were measured with 49,999 images"),
        ({"n_reference": 1_279_999}, "1,281,167 reference images; these were measured with 1,279,999"),
        ({"n_reference": 1_281_168}, "1,281,167 reference images; these were measured with 1,281,168"),
        ({"holds": "mean"}, "posterior samples; these were measured with posterior means"),
        ({"ifid": 80.0}, "interpolation FID is 80, outside of the 5.44 … 72.76"),
        ({"psnr": 40.0}, "PSNR is 40, outside of the 18.9 … 34.33"),
    ],
)
def test_outlook_refuses_other_protocols_and_numbers_in_words(change, reason, plain):
    found = outlook(as_published(plain, **change))
    assert not found.forecasts
    assert reason in found.refused


def test_outlook_refuses_another_size_and_what_was_not_measured(plain):
    published = as_published(plain)
    smaller = replace(published, sample=replace(published.sample, size=128))
    assert outlook(smaller).refused.endswith("images of 256 pixels; these were measured with 128 pixels")
    refused = {"interpolation_fid": Measurement(None, refused="too few images")}
    without = replace(published, generative=replace(published.generative, measurements=refused))
    assert outlook(without).refused == "interpolation FID: too few images"
    assert outlook(replace(published, generative=None)).refused.startswith("interpolation FID was not measured")


def test_pair_verdicts_hear_interpolation_fid_of_one_protocol(plain, blurred):
    same, better = with_psnr(plain, 26.0), with_psnr(blurred, 25.5)
    worse = replace(better, generative=as_published(plain, ifid=60.0).generative)
    base = replace(same, generative=as_published(plain, ifid=50.0).generative)
    (verdict,) = pair_verdicts([base, worse])
    assert (verdict.word, "interpolation FID does not confirm it" in verdict.reason) == ("cannot say", True)
    for change in ("extractor_digest", "reference_digest"):
        other = replace(worse, generative=replace(worse.generative, **{change: "another"}))
        assert pair_verdicts([base, other])[0].word == "better"


def test_statements_are_a_forecast_and_a_place(plain):
    forecast, place = statements(plain)
    assert (forecast.title, place.title) == ("forecast", "place")
    assert forecast.text == f"none: {outlook(plain).refused}"
    assert "--reference and --features" in forecast.text
    assert place.text == "none: the atlas has no other latent space with 3 channels at f1"
    _, place = statements(as_f8(plain))
    assert place.text.startswith("PSNR ")
    assert "SD-VAE 26.91" in place.evidence
