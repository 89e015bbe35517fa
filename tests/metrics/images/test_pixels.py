import pytest
import torch
from skimage.metrics import structural_similarity

from spectrum_matching.metrics.images.pixels import PSNR_CAP, psnr, ssim


def photographs(n: int, size: int = 48, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(n, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear") * 2 - 1


def test_psnr_of_a_tenth_of_the_range_is_twenty_decibels():
    images = torch.full((2, 3, 16, 16), -0.5)
    output = images.clone()
    output[0] += 0.2
    output[1] += 0.02
    torch.testing.assert_close(psnr(output, images), torch.tensor([20.0, 40.0]), atol=1e-3, rtol=0)


def test_psnr_of_an_exact_pair_is_the_cap():
    images = photographs(3)
    assert psnr(images, images).tolist() == [PSNR_CAP] * 3


def test_psnr_and_ssim_clamp_to_the_range():
    white = torch.ones(1, 3, 16, 16)
    assert psnr(white * 3, white).item() == PSNR_CAP
    assert ssim(white * 3, white).item() == pytest.approx(1)


def test_psnr_and_ssim_do_not_depend_on_the_batch():
    images = photographs(4)
    output = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    for score in (psnr, ssim):
        alone = torch.cat([score(output[i : i + 1], images[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(score(output, images), alone)


def test_ssim_equals_scikit_image():
    images = photographs(2)
    output = images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    unit = [((x + 1) / 2).clamp(0, 1).double().permute(0, 2, 3, 1).numpy() for x in (output, images)]
    expected = [
        structural_similarity(
            a, b, channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(*unit, strict=True)
    ]
    torch.testing.assert_close(ssim(output, images).double(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 8 x 8"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_psnr_and_ssim_are_exact_under_autocast():
    images, output = photographs(2), photographs(2, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim(output, images), psnr(output, images)
    assert torch.equal(found[0], ssim(output, images))
    assert torch.equal(found[1], psnr(output, images))
