import pytest
import torch

from spectrum_matching.methods import BandMatch, LatentMatch
from spectrum_matching.methods.distillation import band_errors
from spectrum_matching.methods.models import certain
from spectrum_matching.spectrum.dct import dct2, idct2


@pytest.fixture
def latents(generator):
    return torch.randn(3, 4, 8, 8, generator=generator, dtype=torch.float64)


def test_losses_are_0_for_the_teacher_and_1_for_nothing(latents):
    for loss in (LatentMatch(), BandMatch()):
        assert loss(certain(latents), latents) == 0
    centred = latents - latents.mean()
    torch.testing.assert_close(LatentMatch()(certain(torch.zeros_like(latents)), centred).item(), 1.0)
    torch.testing.assert_close(BandMatch()(certain(torch.zeros_like(latents)), latents).item(), 1.0)


@pytest.mark.unchecked
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (3, 1, 8, 8), (3, 4, 1, 8)])
def test_losses_refuse_shapes_that_would_broadcast(latents, shape):
    for loss in (LatentMatch(), BandMatch()):
        with pytest.raises(ValueError, match="two fields"):
            loss(certain(latents), torch.zeros(shape))


def test_losses_do_not_depend_on_the_scale_of_the_teacher(latents, generator):
    student = latents + 0.3 * torch.randn(latents.shape, generator=generator, dtype=torch.float64)
    for loss in (LatentMatch(), BandMatch()):
        for scale in (5, 1e-5, 1e-9):
            ours, theirs = ((scale * x).float() for x in (student, latents))
            torch.testing.assert_close(
                loss(certain(ours), theirs), loss(certain(student), latents), check_dtype=False, rtol=1e-4, atol=0
            )


def test_band_match_counts_a_lost_band_in_full_however_little_power_it_holds(latents):
    spectrum = dct2(latents)
    radius = torch.hypot(*torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    high = radius >= 7 * 2**0.5 / 2
    steep = idct2(torch.where(high, 1e-2 * spectrum, spectrum))
    lost = idct2(torch.where(high, 0, spectrum))
    assert LatentMatch()(certain(lost), steep) < 1e-3
    torch.testing.assert_close(BandMatch(2)(certain(lost), steep).item(), 0.5)
    error, power = band_errors(lost, steep, 2)
    assert error[0] < 1e-12 < error[1]
    torch.testing.assert_close(error[1], power[1])


def test_band_match_has_a_gradient_and_leaves_out_bands_without_power(latents):
    mean = torch.zeros_like(latents).requires_grad_()
    for value in (0.3, 0.0):
        flat = torch.full((2, 4, 32, 32), value)
        other = torch.ones_like(flat).requires_grad_()
        for loss in (LatentMatch(), BandMatch()):
            missing = loss(certain(other), flat)
            missing.backward()
            assert missing == 0
            assert not other.grad.any()
    BandMatch()(certain(mean), latents).backward()
    assert mean.grad.isfinite().all()
    assert mean.grad.any()
    with pytest.raises(ValueError, match="at least 1 bin, got 0"):
        BandMatch(0)
