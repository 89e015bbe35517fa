"""Claims of the paper about directions and filters, on fields where the answer is known."""

import math

import pytest
import torch

from spectrum_matching.diffusion.alignment import DifferenceOfGaussians, SpatialNormalisation, Unfiltered
from spectrum_matching.spectrum.contrast import directional_energy, directional_spectrum, rmsc, unit_tokens
from spectrum_matching.spectrum.dct import dct2, dct_matrix

SHAPES = [(3, 5, 8, 8), (2, 64, 16, 12), (4, 1, 4, 4), (2, 7, 5, 9)]


def off_centre(generator, shape):
    """White noise about a mean token as large as itself."""
    mean = torch.randn(*shape[:2], 1, 1, generator=generator, dtype=torch.float64)
    return 30 * (mean + torch.randn(shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_directional_energy_is_rmsc_squared_and_1_minus_mean_squared(shape, generator):
    x = off_centre(generator, shape)
    third = 1 - unit_tokens(x).mean((-2, -1)).square().sum(1)
    torch.testing.assert_close(rmsc(x).square(), third, rtol=0, atol=1e-13)
    torch.testing.assert_close(directional_energy(x), third, rtol=0, atol=1e-13)
    torch.testing.assert_close(1 - directional_spectrum(x)[..., 0, 0], third, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gamma", [1.0, 0.6])
def test_spatial_normalisation_scales_dc_alone(gamma, shape, generator):
    x = off_centre(generator, shape)
    before, after = dct2(x), dct2(SpatialNormalisation(gamma)(x))
    torch.testing.assert_close(after[..., 0, 0], (1 - gamma) * before[..., 0, 0], rtol=1e-12, atol=1e-10)
    before[..., 0, 0] = after[..., 0, 0] = 0
    torch.testing.assert_close(after, before, rtol=0, atol=1e-11)


def test_difference_of_gaussians_becomes_dc_removal_in_the_limit(generator):
    x = off_centre(generator, (2, 6, 16, 16))
    removed = SpatialNormalisation(1.0)(x)
    sigmas = [(0.8, 1.0), (0.7, 2.0), (0.6, 4.0), (0.5, 16.0), (0.3, 64.0), (0.1, 1024.0), (0.0, 32768.0)]
    errors = [
        float((DifferenceOfGaussians(inner, outer)(x) - removed).norm() / removed.norm()) for inner, outer in sigmas
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5
    assert errors[-1] < 1e-6


@pytest.mark.parametrize(("inner", "outer"), [(1.0, 2.0), (1.0, 3.0), (0.0, 2.0)])
def test_difference_of_gaussians_scales_cosines_by_exponentials(inner, outer):
    h, w = 16, 24
    rows, columns = (dct_matrix(n, like=torch.zeros(1, dtype=torch.float64)) for n in (h, w))
    for u, v in [(0, 1), (1, 0), (2, 3), (5, 5), (0, 9), (8, 2), (15, 23)]:
        cosine = (rows[u][:, None] * columns[v])[None, None]
        passed = DifferenceOfGaussians(inner, outer)(cosine)
        gain = float((passed * cosine).sum())
        # The mirrored border makes every basis function of the DCT an eigenfunction, corners included.
        torch.testing.assert_close(passed, gain * cosine, rtol=0, atol=1e-12)
        squared = (math.pi * u / h) ** 2 + (math.pi * v / w) ** 2
        expected = math.exp(-(inner**2) * squared / 2) - math.exp(-(outer**2) * squared / 2)
        # The kernel is cut off at four sigma and lives on samples.
        assert gain == pytest.approx(expected, abs=5e-4), (u, v)


def test_target_filter_std_as_number_keeps_directions(generator):
    x = off_centre(generator, (2, 6, 8, 8)) * torch.logspace(-2, 2, 6, dtype=torch.float64)[:, None, None]
    for plain, fixed, empirical in (
        (SpatialNormalisation(0.6), SpatialNormalisation(0.6, 3.7), SpatialNormalisation(0.6, "empirical")),
        (
            DifferenceOfGaussians(0.5, 2),
            DifferenceOfGaussians(0.5, 2, 0.01),
            DifferenceOfGaussians(0.5, 2, "empirical"),
        ),
    ):
        torch.testing.assert_close(unit_tokens(fixed(x)), unit_tokens(plain(x)), rtol=0, atol=1e-13)
        assert (rmsc(empirical(x)) - rmsc(plain(x))).abs().min() > 1e-3
        assert not torch.allclose(fixed(x), plain(x))
    torch.testing.assert_close(Unfiltered()(x), x, rtol=0, atol=0)
