import pytest
import torch

from spectrum_matching.diffusion import Path
from spectrum_matching.spectrum import idct2
from spectrum_matching.studies.frequency_bias.band_errors import band_errors, band_power, bands_of
from spectrum_matching.studies.frequency_bias.fields import coefficient_frequencies
from spectrum_matching.studies.frequency_bias.wiener import (
    Moments,
    coefficient_moments,
    expected_errors,
    wiener_denoiser,
    wiener_gain,
)

GRID, CHANNELS = (8, 6), 2


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def known():
    """1/f² fields of two correlated channels, with a mean."""
    power = coefficient_frequencies(*GRID) ** -2 * 0.01
    between = torch.tensor([[1.0, 0.8], [0.8, 1.5]], dtype=torch.float64)
    return Moments(drawn(CHANNELS, *GRID, seed=5) * 0.3, power[..., None, None] * between)


def sampled(known, n):
    root = torch.linalg.cholesky(known.covariance)
    white = drawn(n, CHANNELS, *GRID)
    return idct2(torch.einsum("hwij,njhw->nihw", root, white) + known.mean)


def test_moments_are_those_of_the_fields_they_are_of(known):
    found = coefficient_moments(sampled(known, 20_000))
    torch.testing.assert_close(found.mean, known.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(found.covariance, known.covariance, atol=0.02, rtol=0.06)


@pytest.mark.parametrize("kind", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_the_closed_form_is_what_the_filter_does(known, kind, prediction):
    path, times, bands = Path(kind, prediction), (0.2, 0.6), bands_of(GRID, 4)
    data = sampled(known, 6000)
    found = band_errors(wiener_denoiser(known, path), path, data, drawn(*data.shape, seed=1), times, bands)
    for row, t in zip(found, times, strict=True):
        along = path.coefficients(torch.tensor(t, dtype=torch.float64))
        closed = expected_errors(known, known.covariance, float(along.alpha), float(along.sigma))
        torch.testing.assert_close(row, bands.sums(closed) / data[0].numel(), rtol=0.05, atol=0)


def test_white_data_by_hand():
    covariance = torch.eye(CHANNELS, dtype=torch.float64).expand(*GRID, CHANNELS, CHANNELS)
    white = Moments(torch.zeros(CHANNELS, *GRID, dtype=torch.float64), covariance)
    for t in (0.1, 0.5, 0.9):
        by_hand = t**2 / ((1 - t) ** 2 + t**2) * CHANNELS
        torch.testing.assert_close(expected_errors(white, covariance, 1 - t, t), torch.full(GRID, by_hand).double())


def test_a_filter_that_knows_another_spectrum_is_worse_and_the_closed_form_says_how_much(known):
    path, t, bands = Path(), 0.5, bands_of(GRID, 4)
    wrong = Moments(known.mean + 0.1, known.covariance.flip(0))
    data = sampled(known, 6000)
    about = coefficient_moments(data, about=wrong.mean).covariance
    closed = bands.sums(expected_errors(wrong, about, 1 - t, t)) / data[0].numel()
    found = band_errors(wiener_denoiser(wrong, path), path, data, drawn(*data.shape, seed=1), (t,), bands)[0]
    torch.testing.assert_close(found, closed, rtol=0.05, atol=0)
    best = bands.sums(expected_errors(known, known.covariance, 1 - t, t)) / data[0].numel()
    assert (closed > best).all()


def test_channels_together_are_denoised_better_than_each_by_itself(known):
    alone = Moments(known.mean, torch.diag_embed(known.covariance.diagonal(dim1=-2, dim2=-1)))
    together, apart = (expected_errors(own, known.covariance, 0.5, 0.5) for own in (known, alone))
    assert (together < apart).all()


def test_the_gain_does_nothing_to_data_without_noise(known):
    gain = wiener_gain(known, 1.0, 1e-6)
    torch.testing.assert_close(gain, torch.eye(CHANNELS).double().expand_as(gain), atol=1e-6, rtol=0)


def test_times_of_a_batch_may_differ(known):
    path, data = Path(), sampled(known, 4)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    filter_ = wiener_denoiser(known, path)
    whole = filter_(data, t, None)[0]
    alone = torch.cat([filter_(data[i : i + 1], t[i : i + 1], None)[0] for i in range(4)])
    torch.testing.assert_close(whole, alone)


def test_bands_sum_to_the_mean_square(known):
    data = sampled(known, 10)
    for n in (1, 3, 7):
        bands = bands_of(GRID, n)
        assert int(bands.counts.sum()) == GRID[0] * GRID[1]
        assert float(band_power(data, bands).sum()) == pytest.approx(float(data.square().mean()), rel=1e-12)
