import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.nn import functional

from spectrum_matching.spectrum import difference_of_gaussians, gaussian_blur, resize, separable


def scipys_blur(x, sigma):
    sigmas = (*(0,) * (x.ndim - 2), sigma, sigma)
    return torch.from_numpy(scipy.ndimage.gaussian_filter(x.numpy(), sigmas, mode="reflect", truncate=4))


@pytest.mark.parametrize("grid", [(16, 16), (17, 9), (3, 5), (1, 1), (1, 8), (2, 2)])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.2, 3.0, 10.0])
def test_gaussian_blur_equals_scipy_for_any_kernel_width(grid, sigma, field):
    x = field(1, (2, *grid)).double()
    torch.testing.assert_close(gaussian_blur(x, sigma), scipys_blur(x, sigma))


def test_gaussian_blur_keeps_mean_and_constants_and_loses_energy(field):
    x = field(2, (2, 12, 17)).double()
    torch.testing.assert_close(gaussian_blur(x, 2).mean((-2, -1)), x.mean((-2, -1)))
    torch.testing.assert_close(gaussian_blur(torch.full((7, 5), 3.0), 2), torch.full((7, 5), 3.0))
    variances = [gaussian_blur(x, sigma).var().item() for sigma in (0, 0.5, 1, 2, 4)]
    assert variances == sorted(variances, reverse=True)
    assert variances[-1] < 0.1 * variances[0]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("grid", "size"),
    [
        ((16, 16), (8, 8)),
        ((17, 11), (5, 7)),
        ((8, 8), (16, 12)),
        ((5, 3), (1, 1)),
        ((1, 1), (4, 3)),
        ((32, 8), (8, 32)),
    ],
)
def test_resize_equals_torch_interpolate(mode, antialias, grid, size, field):
    x = field(3, (2, 3, *grid)).double()
    expected = functional.interpolate(x, size, mode=mode, align_corners=False, antialias=antialias)
    torch.testing.assert_close(resize(x, size, mode, antialias), expected)


def test_resize_by_area_averages_whole_blocks(field):
    x = field(4, (2, 12, 20)).double()
    torch.testing.assert_close(resize(x, (4, 5), "area"), functional.avg_pool2d(x, (3, 4)))
    torch.testing.assert_close(resize(x, (4, 5), "area", antialias=False), resize(x, (4, 5), "area"))


def test_resize_by_area_weights_by_overlap():
    x = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([[(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 4) / 1.5]], dtype=torch.float64)
    torch.testing.assert_close(resize(x, (1, 2), "area"), expected)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "area"])
def test_resize_to_the_same_size_is_the_identity(mode, field):
    x = field(5, (2, 9, 6))
    assert torch.equal(resize(x, (9, 6), mode), x)


def test_resize_with_antialiasing_removes_frequencies_beyond_nyquist():
    """A checkerboard of pixels has no place on the half grid."""
    x = torch.tensor([1.0, -1.0]).repeat(16)
    x = x[:, None] * x
    assert resize(x, (12, 12))[2:-2, 2:-2].abs().max() < 0.05
    assert resize(x, (12, 12), antialias=False).abs().max() > 0.5


@pytest.mark.parametrize(("inner", "outer"), [(0, 1.0), (0.7, 2.5), (1, 100)])
def test_difference_of_gaussians_equals_scipy(inner, outer, field):
    x = field(6, (2, 14, 9)).double()
    narrow = scipys_blur(x, inner) if inner else x
    torch.testing.assert_close(difference_of_gaussians(x, inner, outer), narrow - scipys_blur(x, outer))


def test_difference_of_gaussians_is_a_band_pass():
    assert difference_of_gaussians(torch.full((16, 16), 5.0), 0.5, 2).abs().max() < 1e-5
    position = (np.arange(64) + 0.5) / 64

    def gain(index):
        wave = torch.from_numpy(np.cos(np.pi * index * position)).expand(64, 64)
        return (difference_of_gaussians(wave, 1, 3).norm() / wave.norm()).item()

    assert gain(1) < 0.1
    assert gain(12) > 0.5
    assert gain(60) < 0.05


def test_difference_of_gaussians_subtracts_before_rounding_to_bf16(field):
    x = 10 + field(7, (1, 32, 32), 2.0)
    exact = difference_of_gaussians(x.bfloat16().float(), 1, 1.5)
    error = (difference_of_gaussians(x.bfloat16(), 1, 1.5).float() - exact).abs().max()
    assert error < 2**-8 * exact.abs().max()


@pytest.mark.unchecked
def test_filters_refuse_impossible_arguments():
    x = torch.zeros(4, 4)
    for sigma in (-0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"got {sigma}"):
            gaussian_blur(x, sigma)
    with pytest.raises(ValueError, match="inner 2 and outer 1"):
        difference_of_gaussians(x, 2, 1)
    with pytest.raises(ValueError, match="0 x 3"):
        resize(x, (0, 3))
    with pytest.raises(ValueError, match="'nearest'"):
        resize(x, (2, 2), "nearest")


def test_blurs_drawn_anew_at_each_step_are_not_all_kept():
    n_before = len(vars(separable._shelf))
    for step in range(200):
        gaussian_blur(torch.zeros(1, 1, 8, 8), 0.5 + step / 1000)
    assert len(vars(separable._shelf)) == n_before
