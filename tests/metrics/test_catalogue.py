import dataclasses

import pytest
import torch

from spectrum_matching.metrics import METRICS, LatentBatch, Moments, latent_numbers
from spectrum_matching.metrics.decoder.lowpass import lowpass
from spectrum_matching.metrics.latents.structure import KEYS
from spectrum_matching.spectrum import gaussian_blur


def numbers_of(latents, labels, masks):
    stds = latents.double().std((0, 2, 3), correction=0)
    moments = Moments(0.0, 1.0, latents.double().mean((0, 2, 3)), stds)
    return latent_numbers(lambda: [LatentBatch(latents, labels, masks)], moments).numbers


def test_each_metric_is_named_by_its_key_and_says_all_that_a_reader_needs():
    assert all(metric.key == key for key, metric in METRICS.items())
    for metric in METRICS.values():
        said = dataclasses.asdict(metric)
        assert all(said[name] for name in ("title", "range", "source", "evidence", "conventions"))
        assert metric.better in ("lower", "higher", "target", "neither")
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_all_numbers_of_latents_are_described_and_in_the_catalogues_order():
    assert [key for key in METRICS if key in KEYS] == list(KEYS)


@pytest.fixture(scope="module")
def plain_and_blurred():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 6, 12, 12, generator=generator)
    x = x + 0.7 * torch.randn(150, 6, 3, 3, generator=generator).repeat_interleave(4, -1).repeat_interleave(4, -2)
    masks = torch.zeros(150, 12, 12, dtype=torch.bool)
    masks[:, 4:8, 2:11] = True
    labels = torch.arange(150) % 2
    return [numbers_of(latents, labels, masks) for latents in (x, gaussian_blur(x, 1.0))]


@pytest.mark.parametrize("key", [key for key in KEYS if METRICS[key].one_sided and METRICS[key].better != "neither"])
def test_a_blur_wins_what_is_marked_as_one_sided(key, plain_and_blurred):
    plain, blurred = (numbers[key].value for numbers in plain_and_blurred)
    assert blurred < plain if METRICS[key].better == "lower" else blurred > plain


def test_a_decoder_that_draws_nothing_wins_the_low_pass_gap_which_is_marked_as_one_sided():
    latents = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros_like(latents)
    found = lowpass(lambda z: torch.zeros_like(z), latents, nothing, latents, keep=7, block=8)
    assert torch.equal(found.decoded, found.aligned)
    assert METRICS["lowpass_gap"].one_sided
