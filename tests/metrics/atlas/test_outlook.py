from dataclasses import replace

import pytest
import torch
from torch import nn

from spectrum_matching.analysis import analyze
from spectrum_matching.metrics.atlas.outlook import outlook, pair_statements, pair_verdicts, places, statements
from spectrum_matching.metrics.atlas.paired import evidence
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
    assert str(verdict).startswith("Without guidance blurred will diffuse better than plain: SEC 0.")
    assert verdict.evidence == evidence()
    (verdict,) = pair_verdicts([better, same])
    assert str(verdict).startswith("Without guidance plain will diffuse worse than blurred: SEC 0.")
    assert len(pair_verdicts([same, better, same])) == 2


def test_pair_verdicts_do_not_praise_lost_detail(plain, blurred):
    (verdict,) = pair_verdicts([plain, blurred])
    assert verdict.word == "cannot say"
    assert str(verdict).startswith("Whether blurred will diffuse better than plain we cannot say: SEC 0.")
    assert "dB less PSNR" in verdict.reason


def test_pair_verdicts_need_one_shape_and_the_same_images(plain, blurred, images):
    assert not pair_verdicts([plain])
    assert not pair_verdicts([plain, replace(blurred, latent_shape=(3, 12, 12))])
    assert not pair_verdicts([plain, analyze(Blurred(0.6), images.flip(0)[:7], name="others")])
    assert not pair_verdicts([replace(a, sample=replace(a.sample, digest="")) for a in (plain, blurred)])


def test_pair_statements_read_as_the_verdicts(plain, blurred):
    (statement,) = pair_statements([plain, blurred])
    assert statement == ("pair", str(pair_verdicts([plain, blurred])[0]), evidence())


def test_places_names_ranks_or_says_why_there_are_none(plain):
    found, refused = places(as_f8(plain))
    assert found[0].title == "PSNR"
    assert not refused
    assert places(as_f8(plain, channels=5)) == ([], "the atlas has no other latent space with 5 channels at f8")
    assert places(as_f8(plain, size=64))[1].endswith("were measured on images of 256 pixels, and these have 64")
    assert not places(replace(plain, subject=replace(plain.subject, factor=0)))[0]


def test_statements_are_a_forecast_and_a_place(plain):
    forecast, place = statements(plain)
    assert (forecast.title, place.title) == ("forecast", "place")
    assert forecast.text == f"none: {outlook(plain).refused}"
    assert "--reference and --features" in forecast.text
    assert place.text == "none: the atlas has no other latent space with 3 channels at f1"
    _, place = statements(as_f8(plain))
    assert place.text.startswith("PSNR ")
    assert "SD-VAE 26.91" in place.evidence
