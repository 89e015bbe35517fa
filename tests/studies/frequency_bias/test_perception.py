import math

import pytest
import torch

from spectrum_matching.metrics.images.pixels import psnr
from spectrum_matching.nets.vision.extractors import NO_RESIZE, Extracted, Extractor
from spectrum_matching.spectrum import dct2
from spectrum_matching.studies.frequency_bias.band_errors import band_sums, radial_bands
from spectrum_matching.studies.frequency_bias.fields import tilted
from spectrum_matching.studies.frequency_bias.page import metric_figures
from spectrum_matching.studies.frequency_bias.perception import (
    CONTRAST,
    RMS,
    band_error,
    contrast_sensitivity,
    csf_psnr,
    evaluate_injected_errors,
    sensitivity_weights,
)

BANDS = radial_bands((16, 16), 6)


def images(n=6):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def metrics():
    pixels = Extractor("pixels", "0" * 16, NO_RESIZE, lambda images: Extracted(images.flatten(1)))
    return sensitivity_weights(16, 16, 32.0), pixels


@pytest.fixture(scope="module")
def by_metric(metrics):
    return {metric.metric: metric for metric in evaluate_injected_errors(images(), BANDS, *metrics).metrics}


@pytest.mark.parametrize("band", range(6))
def test_band_error_has_its_rms_and_stays_in_its_band(band):
    error = band_error((6, 3, 16, 16), BANDS, band, RMS)
    torch.testing.assert_close(error.square().mean((1, 2, 3)), torch.full((6,), RMS**2))
    outside = dct2(error) * (BANDS.rings != band)
    assert outside.abs().max() < 1e-5
    assert (images() * CONTRAST + error).abs().max() <= 1


def test_evaluate_injected_errors_is_equal_for_psnr_and_pixels_alone(by_metric, metrics):
    assert set(by_metric) == {"PSNR", "CSF-weighted PSNR", "SSIM", "pixels features"}
    assert by_metric["PSNR"].values == pytest.approx([20 * math.log10(2 / RMS)] * 6, abs=1e-4)
    spread = (images() * CONTRAST).flatten(1).double()
    total = float((spread - spread.mean(0)).square().sum(1).mean())
    assert by_metric["pixels features"].values == pytest.approx([RMS**2 * 768 / total] * 6, rel=1e-4)
    for metric in ("CSF-weighted PSNR", "SSIM"):
        assert max(by_metric[metric].values) - min(by_metric[metric].values) > 1e-3
    # The weight of a band's coefficients is all that the weighted PSNR knows of it.
    weight = band_sums(metrics[0], BANDS) / BANDS.counts
    order = torch.tensor(by_metric["CSF-weighted PSNR"].values).argsort()
    assert order.tolist() == weight.argsort(descending=True).tolist()


def test_evaluate_injected_errors_correlates_damage_not_values(by_metric, metrics):
    assert by_metric["PSNR"].correlation is None
    assert {metric.better for metric in by_metric.values()} == {"higher", "lower"}
    # An extractor that sees the lowest frequencies alone is damaged by low bands.
    lowest = Extractor("low", "0" * 16, NO_RESIZE, lambda images: Extracted(dct2(images)[..., :1, 1:3].flatten(1)))
    low = evaluate_injected_errors(images(), BANDS, metrics[0], lowest).metrics[-1]
    assert low.better == "lower"
    assert low.correlation < 0


def test_metric_figures_show_every_point_of_few_bands(metrics):
    injected = evaluate_injected_errors(images(), radial_bands((16, 16), 4), *metrics)
    assert [metric.metric for metric in injected.metrics if metric.is_flat] == ["PSNR", "pixels features"]
    for metric, panel in zip(injected.metrics, metric_figures(injected), strict=True):
        assert metric.correlation is None
        low, high = panel.figure.axes[0].get_ylim()
        assert low < min(metric.values) <= max(metric.values) < high
        if metric.is_flat:
            assert (low, high) == (metric.values[0] - 1, metric.values[0] + 1)


def test_csf_psnr_with_even_weights_is_psnr():
    target = images() * 0.5
    output = target + 0.1 * images()
    torch.testing.assert_close(csf_psnr(output, target, torch.ones(16, 16)), psnr(output, target), atol=1e-3, rtol=0)


def test_contrast_sensitivity_peaks_near_8_cycles_per_degree():
    f = torch.linspace(0.1, 60, 6000, dtype=torch.float64)
    sensitivity = contrast_sensitivity(f)
    assert 7.5 < float(f[sensitivity.argmax()]) < 8.5
    assert float(sensitivity.max()) == pytest.approx(0.98, abs=0.01)
    # By hand at 1 / 0.114 cycles: 2.6 · 1.0192 / e.
    assert float(contrast_sensitivity(torch.tensor(1 / 0.114))) == pytest.approx(2.6 * 1.0192 / math.e, rel=1e-5)


def test_sensitivity_weights_have_mean_1():
    assert float(sensitivity_weights(12, 20, 32.0).mean()) == pytest.approx(1)


def test_sensitivity_weights_undo_the_tilt():
    flat, steep = images(), tilted(images(), -2.0)
    plain, tilt = sensitivity_weights(16, 16, 32.0), sensitivity_weights(16, 16, 32.0, delta=-2.0)
    weighted = (tilt * dct2(steep).double().square()).sum((1, 2, 3))
    expected = (plain * dct2(flat).double().square()).sum((1, 2, 3))
    torch.testing.assert_close(weighted / weighted[0], expected / expected[0], rtol=1e-4, atol=0)
    naive = (plain * dct2(steep).double().square()).sum((1, 2, 3))
    assert not torch.allclose(naive / naive[0], expected / expected[0], rtol=1e-2)
