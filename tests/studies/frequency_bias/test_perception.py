import math

import pytest
import torch

from spectrum_matching.metrics.images.pixels import psnr
from spectrum_matching.nets.vision.extractors import NO_RESIZE, Extracted, Extractor
from spectrum_matching.spectrum import dct2
from spectrum_matching.studies.frequency_bias.band_errors import bands_of
from spectrum_matching.studies.frequency_bias.perception import (
    CONTRAST,
    Eyes,
    band_error,
    contrast_sensitivity,
    csf_psnr,
    harms,
    sensitivity_weights,
    sight,
)

BANDS = bands_of((16, 16), 6)


def images(n=6):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def eyes():
    pixels = Extractor("pixels", "0" * 16, NO_RESIZE, lambda images: Extracted(images.flatten(1)))
    return Eyes(sensitivity_weights(16, 16, 32.0), None, pixels)


@pytest.mark.parametrize("band", range(6))
def test_injected_errors_have_equal_mean_square_and_stay_in_their_band(band):
    error = band_error((6, 3, 16, 16), BANDS, band, 0.08)
    torch.testing.assert_close(error.square().mean((1, 2, 3)), torch.full((6,), 0.08**2))
    outside = dct2(error) * (BANDS.rings != band)
    assert outside.abs().max() < 1e-5
    assert (images() * CONTRAST + error).abs().max() <= 1


def test_equal_errors_are_one_to_psnr_and_to_features_that_are_the_pixels_and_not_to_others(eyes):
    seen = []
    rows = harms(images(), 0.08, BANDS, eyes, seen.append)
    assert seen == [1] * 6
    by_metric = {of[0].metric: [harm.value for harm in of] for of in zip(*rows, strict=True)}
    assert set(by_metric) == {"PSNR", "CSF-weighted PSNR", "SSIM", "pixels features"}
    assert by_metric["PSNR"] == pytest.approx([20 * math.log10(2 / 0.08)] * 6, abs=1e-4)
    spread = (images() * CONTRAST).flatten(1).double()
    total = float((spread - spread.mean(0)).square().sum(1).mean())
    assert by_metric["pixels features"] == pytest.approx([0.08**2 * 768 / total] * 6, rel=1e-4)
    for metric in ("CSF-weighted PSNR", "SSIM"):
        assert max(by_metric[metric]) - min(by_metric[metric]) > 1e-3
    # The weight of a band's coefficients is all that the weighted PSNR knows of it.
    weight = BANDS.sums(eyes.weights) / BANDS.counts
    assert torch.tensor(by_metric["CSF-weighted PSNR"]).argsort().tolist() == weight.argsort(descending=True).tolist()


def test_damage_points_the_same_way_for_all_metrics(eyes):
    harm = harms(images(), 0.08, BANDS, eyes, lambda n: None)[0]
    assert [own.damage for own in harm] == [-harm[0].value, -harm[1].value, -harm[2].value, harm[3].value]


def test_even_weights_make_the_weighted_psnr_the_plain_one():
    target = images() * 0.5
    output = target + 0.1 * images()
    torch.testing.assert_close(csf_psnr(output, target, torch.ones(16, 16)), psnr(output, target), atol=1e-3, rtol=0)


def test_contrast_sensitivity_peaks_near_8_cycles_per_degree():
    f = torch.linspace(0.1, 60, 6000, dtype=torch.float64)
    found = contrast_sensitivity(f)
    assert 7.5 < float(f[found.argmax()]) < 8.5
    assert float(found.max()) == pytest.approx(0.98, abs=0.01)
    # By hand at 1 / 0.114 cycles: 2.6 · 1.0192 / e.
    assert float(contrast_sensitivity(torch.tensor(1 / 0.114))) == pytest.approx(2.6 * 1.0192 / math.e, rel=1e-5)
    assert float(sensitivity_weights(12, 20, 32.0).mean()) == pytest.approx(1)


def test_a_perfect_estimate_is_seen_as_such(eyes):
    target = images()
    seen = sight(target, target, eyes)
    assert seen.ssim == pytest.approx(1)
    assert seen.psnr == 100
    assert seen.lpips is None
    assert sight(target, -target, eyes).ssim < 0
