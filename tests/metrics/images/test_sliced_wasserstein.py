import math

import pytest
import scipy.ndimage
import scipy.stats
import torch

from spectrum_matching.metrics.images.sliced_wasserstein import (
    draw_patches,
    laplacian_pyramid,
    n_scales,
    patch_distance,
    sliced_wasserstein,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, n, d):
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def images(seed, n=6, size=32):
    return torch.rand(n, 3, size, size, generator=seeded(seed)) * 2 - 1


def patches_of(batch, seed=0):
    generators = [seeded(seed + i) for i in range(len(batch))]
    return draw_patches(batch, 20, generators).flatten(0, 1)


def test_sliced_wasserstein_in_one_dimension_equals_scipy():
    a, b = normal(0, 50, 1), normal(1, 50, 1) * 2 + 1
    expected = scipy.stats.wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert sliced_wasserstein(a, b, seeded(0)) == pytest.approx(expected, rel=1e-12)


def test_sliced_wasserstein_ignores_order():
    a = normal(0, 60, 5)
    assert sliced_wasserstein(a, a[torch.randperm(60, generator=seeded(1))], seeded(0)) < 1e-12


def test_sliced_wasserstein_of_shifted_gaussians():
    d, shift = 4, 3.0
    # E|θ₁| over the unit sphere of d dimensions, times the length of the shift.
    expected = shift * math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
    moved = normal(0, 500, d)
    moved[:, 0] += shift
    found = sliced_wasserstein(moved, normal(0, 500, d), seeded(0), n_projections=4000)
    assert found == pytest.approx(expected, rel=0.03)


def test_sliced_wasserstein_of_unequal_sizes():
    few, many = normal(0, 300, 3), normal(1, 3000, 3)
    assert sliced_wasserstein(few, many, seeded(0)) < 0.12
    assert sliced_wasserstein(few, many + 2, seeded(0)) == pytest.approx(3**0.5, rel=0.1)  # E|θ₁| = 1/2, times 2√3


@pytest.mark.parametrize("size", [16, 31, 32, 48])
def test_laplacian_pyramid_sums_to_images(size):
    batch = images(0, 2, size).double()
    levels = laplacian_pyramid(batch, 2)
    assert [level.shape[-1] for level in levels] == [size, -(-size // 2)]
    sparse = torch.zeros_like(batch)
    sparse[..., ::2, ::2] = levels[1]
    taps = torch.outer(*(torch.tensor([1.0, 4, 6, 4, 1]) / 8,) * 2).numpy()
    whole = torch.from_numpy(scipy.ndimage.convolve(sparse.numpy(), taps[None, None].astype("float64"), mode="mirror"))
    torch.testing.assert_close(whole + levels[0], batch, rtol=0, atol=1e-12)


def test_n_scales_halves_down_to_16_pixels():
    assert [n_scales(size) for size in (6, 7, 16, 31, 32, 64, 256, 2048, 8192)] == [0, 1, 1, 1, 2, 3, 5, 8, 8]


def test_draw_patches_cuts_each_image_by_its_own_generator():
    batch = images(0, 2, 16)
    drawn = draw_patches(batch, 30, [seeded(0), seeded(1)])
    windows = batch.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5).reshape(2, 100, 147)
    for own, all_of_it in zip(drawn, windows, strict=True):
        places = torch.cdist(own, all_of_it).argmin(1)
        assert torch.equal(all_of_it[places], own)
        assert len(places.unique()) > 15
    assert torch.equal(draw_patches(batch.flip(0), 30, [seeded(1), seeded(0)]).flip(0), drawn)
    assert draw_patches(batch[..., :7, :7], 3, [seeded(0), seeded(1)]).shape == (2, 3, 147)


def test_patch_distance_counts_contrast_and_ignores_scale():
    real, other = patches_of(images(0)), patches_of(images(10))
    near = patch_distance(other, real, seeded(0))
    assert patch_distance(other / 2, real, seeded(0)) > 2 * near
    assert patch_distance(5 * other + 1, 5 * real + 1, seeded(0)) == pytest.approx(near, rel=1e-4)
    assert patch_distance(real, real, seeded(0)) == 0


def test_sliced_wasserstein_refuses_other_sizes_and_empty_sets():
    with pytest.raises(ValueError, match="cannot be compared"):
        sliced_wasserstein(normal(0, 5, 3), normal(0, 5, 4), seeded(0))
    with pytest.raises(ValueError, match="cannot be compared"):
        sliced_wasserstein(normal(0, 5, 3)[:0], normal(0, 5, 3), seeded(0))
