"""The programs of docs/extending.md, run as they are printed there."""

import re
from pathlib import Path

import pytest
import torch

from spectrum_matching import reconstruct
from spectrum_matching.analysis import analyze
from spectrum_matching.data import images as image_sets
from spectrum_matching.metrics.images.score import SetComparison
from spectrum_matching.metrics.images.statistics import ImageStatistics
from spectrum_matching.nets.autoencoder import Autoencoder, diffusers_classes

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
PROGRAMS = dict(re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE))


def names_of(title):
    """What the program under a heading defines."""
    scope = {"__name__": "program"}
    exec(PROGRAMS[title], scope)
    return scope


def test_extending_page_has_five_programs_under_15_lines():
    assert len(PROGRAMS) == 5
    for title, program in PROGRAMS.items():
        assert len([line for line in program.splitlines() if line.strip()]) < 15, title


class Identity:
    def encode(self, images):
        return images

    def decode(self, latents):
        return latents


def test_extending_page_metric_of_latents_measures(generator):
    metric = names_of("A metric of latents")["HALF_ENERGY"]
    images = torch.randn(32, 3, 16, 16, generator=generator).clamp(-1, 1)
    half = analyze(Identity(), images, n_tests=2, metrics=[metric]).measurement("half_energy")
    assert abs(half.value - 0.5) < 4 * half.standard_error


def test_extending_page_score_compares_sets():
    score = names_of("A score of sets of images")["MEAN_COLOUR"]
    sets = []
    for level in (-1.0, 1.0):
        statistics = ImageStatistics((score.collect,))
        statistics.add(torch.full((4, 3, 8, 8), level))
        sets.append(statistics)
    assert score.compare(SetComparison(*sets))["mean_colour"].value == pytest.approx(2 * 3**0.5)


def test_extending_page_method_reconstructs(small_autoencoder, generator):
    method = names_of("A method")["blur"]()
    images = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    result = reconstruct(Autoencoder.from_pretrained(small_autoencoder), method, images, generator)
    assert result.output.shape == result.target.shape == images.shape


def test_extending_page_autoencoder_class_opens(monkeypatch):
    from diffusers import AsymmetricAutoencoderKL

    class AutoencoderMine(AsymmetricAutoencoderKL):
        __module__ = "diffusers.models"

    monkeypatch.setattr(diffusers_classes, "CLASSES", dict(diffusers_classes.CLASSES))
    names_of("An autoencoder class")
    widths = {"down_block_out_channels": (32, 32), "up_block_out_channels": (32, 64)}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = AutoencoderMine(**widths, **blocks)
    assert diffusers_classes.class_name(model) == "AutoencoderMine"
    autoencoder = Autoencoder(model)
    assert autoencoder.factor == 2
    assert autoencoder.decode(autoencoder.encode(torch.zeros(1, 3, 16, 16)).mean).shape == (1, 3, 16, 16)


def test_extending_page_source_is_opened(monkeypatch):
    source = names_of("A source of images")["Greys"]
    monkeypatch.setattr(image_sets, "open_source", lambda name, labels: source())
    images = image_sets.open_images("greys:", 32, split="all")
    assert len(images) == 256
    assert images[255].image.min() == 1
