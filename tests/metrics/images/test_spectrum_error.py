import math

import pytest
import torch

from spectrum_matching.metrics.images.spectrum_error import band_frequencies, image_powers, n_bands, spectrum_error


def images(seed, n=64, size=16):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) / 3


def test_spectrum_error_of_half_the_amplitude_is_six_decibels():
    power = image_powers(images(0)).double().mean(0)
    found = spectrum_error(image_powers(images(0) / 2).double().mean(0), power)
    torch.testing.assert_close(found.decibels, torch.full((8,), -20 * math.log10(2), dtype=torch.float64))
    assert found.mean == pytest.approx(20 * math.log10(2))
    assert spectrum_error(power, power).mean == 0


def test_image_powers_of_white_images_are_their_variance():
    white = image_powers(images(0, 400) + 0.5).mean(0)
    torch.testing.assert_close(white, torch.full((8,), 1 / 9), rtol=0.03, atol=0)
    assert len(band_frequencies(16)) == 8 == n_bands(16)
    assert n_bands(512) == 64
    assert bool((band_frequencies(16).diff() > 0).all())


@pytest.mark.parametrize("is_paired", [False, True])
def test_spectrum_error_predicts_spread_of_repetitions(is_paired):
    values, predicted = [], []
    fixed = image_powers(images(9999, 2000)).double()
    for i in range(100):
        real = image_powers(images(i)).double() if is_paired else fixed
        own = image_powers(images(i) * 0.7 + (0.1 * images(500 + i))).double()
        found = spectrum_error(own.mean(0), real.mean(0), len(own), own, real if is_paired else None)
        values.append(found.mean)
        predicted.append(found.standard_error)
    assert torch.tensor(predicted).mean() == pytest.approx(float(torch.tensor(values).std()), rel=0.25)


def test_spectrum_error_without_power_is_large_and_finite():
    power = image_powers(images(0)).double().mean(0)
    assert spectrum_error(torch.zeros(8), power).mean > 100
    assert math.isfinite(spectrum_error(power, torch.zeros(8)).mean)
