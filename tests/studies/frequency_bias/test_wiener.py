import pytest
import torch

from random_of_tests import normal
from spectrum_matching.diffusion import Path
from spectrum_matching.spectrum import idct2
from spectrum_matching.studies.frequency_bias.band_errors import band_sums, radial_bands, squared_errors
from spectrum_matching.studies.frequency_bias.fields import (
    CoefficientMoments,
    coefficient_frequencies,
    coefficient_moments,
    wiener_denoiser,
)

GRID, CHANNELS = (8, 6), 2


@pytest.fixture
def moments():
    """1/f² fields of two correlated channels, with a mean."""
    power = coefficient_frequencies(*GRID) ** -2 * 0.01
    between = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)
    return CoefficientMoments(normal(CHANNELS, *GRID, seed=5) * 0.3, power[..., None, None] * between)


def sampled(moments, n):
    root = torch.linalg.cholesky(moments.covariance)
    white = normal(n, CHANNELS, *GRID)
    return idct2(torch.einsum("hwij,njhw->nihw", root, white) + moments.mean)


def expected_errors(moments, covariance, alpha, sigma):
    """The closed form of E|x̂ − x|² over data and noise, summed over channels: (h, w).

    The filter is that of `moments`; covariance (h, w, c, c): of the data, about the mean of `moments`.
    """
    eye = torch.eye(CHANNELS, dtype=torch.float64)
    gain = alpha * moments.covariance @ torch.linalg.inv(alpha**2 * moments.covariance + sigma**2 * eye)
    rest = eye - alpha * gain
    of_data = torch.einsum("hwij,hwjk,hwik->hw", rest, covariance, rest)
    return of_data + sigma**2 * gain.square().sum((-2, -1))


def measured(denoiser, path, data, times, bands):
    errors = squared_errors(denoiser, path, data, normal(*data.shape, seed=1), times)
    return band_sums(errors, bands).mean(0)


def test_coefficient_moments_are_those_of_the_fields(moments):
    estimated = coefficient_moments(sampled(moments, 20_000))
    torch.testing.assert_close(estimated.mean, moments.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(estimated.covariance, moments.covariance, atol=0.02, rtol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_wiener_denoiser_has_the_error_of_the_closed_form(moments, kind, prediction):
    path, times, bands = Path(kind, prediction), (0.2, 0.6), radial_bands(GRID, 4)
    data = sampled(moments, 6000)
    for row, t in zip(measured(wiener_denoiser(moments, path), path, data, times, bands), times, strict=True):
        along = path.coefficients(torch.tensor(t, dtype=torch.float64))
        closed = expected_errors(moments, moments.covariance, float(along.alpha), float(along.sigma))
        torch.testing.assert_close(row, band_sums(closed, bands) / data[0].numel(), rtol=0.05, atol=0)


def test_wiener_denoiser_of_white_data_by_hand():
    covariance = torch.eye(CHANNELS, dtype=torch.float64).expand(*GRID, CHANNELS, CHANNELS)
    white = CoefficientMoments(torch.zeros(CHANNELS, *GRID, dtype=torch.float64), covariance)
    noisy = normal(4, CHANNELS, *GRID)
    for t in (0.1, 0.5, 0.9):
        by_hand = t**2 / ((1 - t) ** 2 + t**2) * CHANNELS
        torch.testing.assert_close(expected_errors(white, covariance, 1 - t, t), torch.full(GRID, by_hand).double())
        estimate = wiener_denoiser(white, Path("linear", "data"))(noisy, torch.full((4,), t), None)[0]
        torch.testing.assert_close(estimate, noisy * (1 - t) / ((1 - t) ** 2 + t**2))


def test_wiener_denoiser_of_another_spectrum_is_worse_by_the_closed_form(moments):
    path, t, bands = Path(), 0.5, radial_bands(GRID, 4)
    wrong = CoefficientMoments(moments.mean + 0.1, moments.covariance.flip(0))
    data = sampled(moments, 6000)
    own = coefficient_moments(data)
    offset = (own.mean - wrong.mean).permute(1, 2, 0)
    about = own.covariance + offset[..., :, None] * offset[..., None, :]
    closed = band_sums(expected_errors(wrong, about, 1 - t, t), bands) / data[0].numel()
    errors = measured(wiener_denoiser(wrong, path), path, data, (t,), bands)[0]
    torch.testing.assert_close(errors, closed, rtol=0.05, atol=0)
    best = band_sums(expected_errors(moments, moments.covariance, 1 - t, t), bands) / data[0].numel()
    assert (closed > best).all()


def test_wiener_denoiser_gains_from_channels_together(moments):
    path, data, bands = Path(), sampled(moments, 6000), radial_bands(GRID, 4)
    alone = CoefficientMoments(moments.mean, torch.diag_embed(moments.covariance.diagonal(dim1=-2, dim2=-1)))
    together, apart = (measured(wiener_denoiser(own, path), path, data, (0.5,), bands) for own in (moments, alone))
    assert (together < apart).all()


def test_wiener_denoiser_keeps_data_without_noise(moments):
    data, t = sampled(moments, 4), torch.full((4,), 1e-6, dtype=torch.float64)
    estimate = wiener_denoiser(moments, Path("linear", "data"))(data, t, None)[0]
    torch.testing.assert_close(estimate, data, atol=1e-5, rtol=0)


def test_wiener_denoiser_takes_different_times_in_a_batch(moments):
    path, data = Path(), sampled(moments, 4)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    denoiser = wiener_denoiser(moments, path)
    whole = denoiser(data, t, None)[0]
    alone = torch.cat([denoiser(data[i : i + 1], t[i : i + 1], None)[0] for i in range(4)])
    torch.testing.assert_close(whole, alone)
