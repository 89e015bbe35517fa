import pytest
import torch

from features_of_tests import quarters
from spectrum_matching.metrics.images.fidelity import Fidelity
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.pixels import SSIM_WINDOW, psnr, round_to_bytes
from spectrum_matching.metrics.images.statistics import RunningMoments


def pair(n=40, size=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, 3, size, size, generator=generator) * 2 - 1
    return images + 0.1 * torch.randn(images.shape, generator=generator), images


def squared_distance(a, b):
    return (a - b).square().mean((1, 2, 3))


def measured(output, images, batch_size=7):
    fidelity = Fidelity(squared_distance, quarters, keep=(7,))
    for batch in zip(output.split(batch_size), images.split(batch_size), strict=True):
        fidelity.add(*batch)
    return fidelity.measurements()


def test_fidelity_is_means_over_images_and_a_distance_of_rounded_ones():
    output, images = pair()
    numbers = measured(output, images)
    values = psnr(output, images).double()
    assert numbers["psnr"].value == pytest.approx(float(values.mean()), rel=1e-12)
    assert numbers["psnr"].standard_error == pytest.approx(float(values.std()) / 40**0.5, rel=1e-9)
    assert numbers["lpips"].value == pytest.approx(
        float(squared_distance(output.clamp(-1, 1), images).mean()), rel=1e-6
    )
    moments = [RunningMoments().add(quarters(round_to_bytes(side))) for side in (output, images)]
    assert numbers["rfid"].value == pytest.approx(frechet_distance(*moments), rel=1e-9)


def test_fidelity_does_not_depend_on_batches():
    numbers, whole = measured(*pair()), measured(*pair(), batch_size=40)
    assert numbers.keys() == whole.keys()
    for key in ("psnr", "ssim", "lpips", "rfid"):
        assert numbers[key].value == pytest.approx(whole[key].value, rel=1e-6)
        assert numbers[key].standard_error == pytest.approx(whole[key].standard_error, rel=1e-6)


@pytest.mark.parametrize("size", [SSIM_WINDOW - 1, SSIM_WINDOW])
def test_fidelity_refuses_ssim_below_its_window(size):
    ssim = measured(*pair(size=size))["ssim"]
    assert bool(ssim.refused) == (size < SSIM_WINDOW) == (ssim.value is None)


def test_fidelity_scores_lowpassed_pairs_and_refuses_without_any():
    output, images = pair()
    assert "no blocks" in measured(output, images)["rfid_lowpass_7"].refused
    fidelity = Fidelity(None, quarters, keep=(7,))
    fidelity.add(images, images)
    fidelity.add_lowpassed(7, output, images)
    moments = [RunningMoments().add(quarters(round_to_bytes(side))) for side in (output, images)]
    numbers = fidelity.measurements()
    assert numbers["rfid_lowpass_7"].value == pytest.approx(frechet_distance(*moments), rel=1e-9)
    assert numbers["rfid"].value == pytest.approx(0, abs=1e-9)


def test_fidelity_without_networks_has_psnr_and_ssim():
    fidelity = Fidelity()
    fidelity.add(*pair())
    assert list(fidelity.measurements()) == ["psnr", "ssim"]
