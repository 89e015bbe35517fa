import pytest
import torch

from spectrum_matching.nets.denoiser.build import build_denoiser


@pytest.mark.parametrize("first", [0, 1, 2])
def test_uvit_skips_join_mirrored_blocks_only(first, generator):
    network = build_denoiser("UViT-micro/2", 4, (8, 8), depth=6)
    mirror = network.n_blocks - 1 - first
    noisy, t = torch.randn(2, 4, 8, 8, generator=generator), torch.rand(2, generator=generator)
    with torch.no_grad():  # the mirror image hears of the first half alone, so what lies between them is cut off
        network.blocks[mirror].merge.weight[:, :128] = 0
    before, _ = network(noisy, t)

    def change(block):
        with torch.no_grad():
            network.blocks[block].perceptron.last.bias += torch.randn(128, generator=generator)

    for between in range(first + 1, mirror):
        change(between)
    assert torch.equal(network(noisy, t)[0], before)
    change(first)
    assert not torch.allclose(network(noisy, t)[0], before)


def test_uvit_refuses_an_odd_number_of_blocks():
    with pytest.raises(ValueError, match="depth is 5; expected an even number"):
        build_denoiser("UViT-micro/2", 4, (8, 8), depth=5)


def test_uvit_without_convolution_maps_each_token_to_its_patch(generator):
    for conv in (True, False):
        network = build_denoiser("UViT-micro/2", 4, (8, 8), conv=conv)
        noisy, t = torch.randn(1, 4, 8, 8, generator=generator), torch.rand(1, generator=generator)
        _, tokens = network(noisy, t, tap=5)
        prediction, _ = network(noisy, t)
        patch = network.last(network.norm(tokens[:, 0])).view(2, 2, 4).permute(2, 0, 1)
        assert torch.allclose(prediction[0, :, :2, :2], patch, atol=1e-6) == (not conv)
