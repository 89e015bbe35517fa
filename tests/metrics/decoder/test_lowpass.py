import pytest
import torch

from spectrum_matching.metrics.decoder.lowpass import legal_block, lowpass, scaled_strengths
from spectrum_matching.spectrum import block_lowpass


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("keep", [15, 7, 3, 1])
def test_lowpass_of_identity_decoder_is_aligned(keep):
    images = noise(2, 3, 32, 32)
    result = lowpass(lambda latents: latents, images, images, images, keep, 8)
    assert torch.equal(result.decoded, result.aligned)
    assert torch.equal(result.image, block_lowpass(images, keep))


def test_lowpass_reuses_output_for_keep_all():
    images, latents = noise(1, 3, 32, 32), noise(1, 4, 8, 8)

    def refuse(latents: torch.Tensor) -> torch.Tensor:
        raise AssertionError("decoded again")

    assert torch.equal(lowpass(refuse, latents, images, images, 15, 8).decoded, images)


@pytest.mark.parametrize(("grid", "block"), [((16, 16), 8), ((12, 20), 4), ((6, 8), 2), ((7, 8), 1)])
def test_legal_block_is_the_largest(grid, block):
    assert legal_block(grid, 8) == block


@pytest.mark.parametrize(("block", "strengths"), [(8, (15, 7, 5, 3)), (4, (7, 4, 3, 2)), (2, (3, 2, 1))])
def test_scaled_strengths_keep_cutoff(block, strengths):
    assert scaled_strengths((15, 7, 5, 3), 8, block) == strengths
