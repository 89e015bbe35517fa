import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum_matching.spectrum import dct2, idct2, power_spectrum
from spectrum_matching.spectrum.dct import dct_matrix

SIZES = [1, 2, 3, 5, 8, 16, 17]
GRIDS = [(n, n) for n in SIZES] + [(1, 7), (5, 2), (16, 24), (17, 8)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_dct2_and_idct2_equal_scipy(grid, dtype, tolerance, field):
    x = field(1, (2, 3, *grid)).to(dtype)
    forward = scipy.fft.dctn(x.double().numpy(), axes=(-2, -1), norm="ortho")
    backward = scipy.fft.idctn(x.double().numpy(), axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(dct2(x), forward, rtol=0, atol=tolerance * 10)
    np.testing.assert_allclose(idct2(x), backward, rtol=0, atol=tolerance * 10)
    assert dct2(x).dtype == dtype


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), seed=st.integers(0, 9))
def test_dct2_keeps_energy_and_is_inverted_by_idct2(h, w, seed):
    x = torch.randn(2, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(power_spectrum(x).sum(), x.square().sum())
    torch.testing.assert_close(idct2(dct2(x)), x)
    torch.testing.assert_close(dct2(idct2(x)), x)


@pytest.mark.parametrize("n", SIZES)
def test_dct_matrix_is_orthogonal(n):
    matrix = dct_matrix(n, like=torch.empty(0, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize(("grid", "size"), [((16, 16), (4, 4)), ((12, 17), (5, 17)), ((9, 6), (1, 2))])
def test_dct2_with_size_keeps_the_low_corner(grid, size, field):
    x = field(2, (3, *grid)).double()
    h, w = size
    scale = np.sqrt(h * w / (grid[0] * grid[1]))
    torch.testing.assert_close(dct2(x, size), dct2(x)[..., :h, :w] * scale)


def test_dct2_with_size_is_the_dct_of_the_band_limited_image(field):
    """A field without frequencies above the small grid's Nyquist, sampled on two grids, has one spectrum."""
    small = field(3, (2, 6, 5)).double()
    coefficients = torch.zeros(2, 18, 20, dtype=torch.float64)
    coefficients[..., :6, :5] = dct2(small) * np.sqrt(3 * 4)
    torch.testing.assert_close(dct2(idct2(coefficients), size=(6, 5)), dct2(small))
    torch.testing.assert_close(idct2(coefficients).mean((-2, -1)), small.mean((-2, -1)))


@pytest.mark.parametrize("size", [(9, 4), (4, 9), (0, 4), (4, -1)])
def test_dct2_refuses_a_size_beyond_the_field(size):
    with pytest.raises(ValueError, match=rf"8 x 8 field has no {size[0]} x {size[1]}"):
        dct2(torch.zeros(8, 8), size)
