import math

import numpy as np
import pytest
import torch
from skimage.feature import hog

from spectrum_matching.nets.vision.gradients import gradient_histograms, gradient_map, normalised_within_blocks

# The block to the upper left has the cell at its lower right, and so on.
PLACES = ((1, 1), (1, 0), (0, 1), (0, 0))


def noise(generator, *shape):
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1


def few_levels(generator, *shape):
    """Exact in binary, so that equal gradients of two channels are equal in any arithmetic."""
    return torch.randint(0, 5, shape, generator=generator).double() / 2 - 1


@pytest.mark.parametrize("cell", [4, 5, 8])
@pytest.mark.parametrize("draw", [noise, few_levels])
def test_gradient_map_equals_scikit_image(generator, draw, cell):
    images = draw(generator, 2, 3, 40, 80)
    found = gradient_map(images, cell).numpy()
    for image, ours in zip((images + 1) / 2, found, strict=True):
        theirs = hog(
            image.numpy(),
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
            channel_axis=0,
            feature_vector=False,
        )
        h, w = theirs.shape[:2]
        for view, (y, x) in zip(ours.reshape(4, 9, 40 // cell, 80 // cell), PLACES, strict=True):
            # scikit-image sums magnitudes in float32
            np.testing.assert_allclose(view[:, y : y + h, x : x + w], theirs[:, :, y, x].transpose(2, 0, 1), atol=1e-7)


def test_gradient_map_repeats_cells_at_the_border(generator):
    histograms = torch.rand(1, 9, 3, 2, generator=generator, dtype=torch.float64)
    padded = np.pad(histograms[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    found = normalised_within_blocks(histograms).numpy().reshape(4, 9, 3, 2)
    for row in range(3):
        for column in range(2):
            for view, (y, x) in zip(found, PLACES, strict=True):
                top, left = row + 1 - y, column + 1 - x
                block = padded[:, top : top + 2, left : left + 2]
                block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
                block = block / np.sqrt((block**2).sum() + 1e-10)
                np.testing.assert_allclose(view[:, row, column], block[:, y, x], rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [0, 10, 45, 90, 130, 170, 180, 225, 270, 350])
def test_gradient_map_puts_a_ramp_into_the_bin_of_its_direction(dtype, degrees):
    direction = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}.get(degrees)
    y, x = direction or (math.sin(math.radians(degrees)), math.cos(math.radians(degrees)))
    rows, columns = torch.meshgrid(torch.arange(24, dtype=dtype), torch.arange(24, dtype=dtype), indexing="ij")
    images = ((rows * y + columns * x) / 32).expand(1, 3, 24, 24)
    inner = gradient_histograms(images, 8)[0, :, 1, 1]
    expected = torch.zeros(9, dtype=dtype)
    expected[degrees % 180 // 20] = 1 / 32  # a slope of 1/32 in [-1, 1] is half of it in [0, 1], over two pixels
    torch.testing.assert_close(inner, expected)


def test_gradient_histograms_take_the_strongest_channel():
    images = torch.zeros(1, 3, 8, 8)
    images[:, 0] = torch.arange(8) / 16  # along columns
    images[:, 1] = torch.arange(8)[:, None] / 16  # as strong, along rows
    # of the corner cell's 16 pixels nine have both, and three beside either border have one of them
    votes = torch.zeros(9)
    votes[0], votes[4] = 12 / 256, 3 / 256
    torch.testing.assert_close(gradient_histograms(images, 4)[0, :, 0, 0], votes)
    images[:, 1] *= 1.01
    votes[0], votes[4] = 3 / 256, 12 / 256 * 1.01
    torch.testing.assert_close(gradient_histograms(images, 4)[0, :, 0, 0], votes)


def test_gradient_map_is_invariant_to_contrast_and_equivariant_to_flips(generator):
    images = noise(generator, 2, 3, 40, 24)
    found = gradient_map(images, 8)
    assert found.shape == (2, 36, 5, 3)
    assert torch.equal(gradient_map(-images, 8), found)
    torch.testing.assert_close(gradient_map(images[1:], 8), found[1:], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient_map(images * 0.5 + 0.3, 8), found, rtol=0, atol=1e-6)
    turned = found.unflatten(1, (2, 2, 9)).flip(2, 3, 5).flatten(1, 3)  # left and right blocks, bins, columns
    # at the first and last rows all gradients lie at 0 degrees, whose mirror is itself and not the last bin
    torch.testing.assert_close(gradient_map(images.flip(3), 8)[:, :, 2], turned[:, :, 2])


def test_gradient_map_is_zero_for_flat_images_and_below_1(generator):
    assert not gradient_map(torch.full((1, 3, 16, 16), 0.4)).any()
    found = gradient_map(noise(generator, 2, 3, 32, 32).float(), 4)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found > 0).any(0).any(-1).any(-1).all()


@pytest.mark.parametrize(("height", "width", "cell"), [(32, 33, 8), (30, 32, 8), (8, 32, 8), (32, 16, 16), (32, 32, 0)])
def test_gradient_grid_refuses_what_does_not_fit(height, width, cell):
    with pytest.raises(ValueError, match=rf"{height} x {width} pixels have no grid of cells of {cell}") as caught:
        gradient_map(torch.zeros(1, 3, height, width), cell)
    assert "\n" not in str(caught.value)
