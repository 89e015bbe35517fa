import torch

from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.nets.denoiser.transformer import patchify


def test_sit_is_zero_and_its_blocks_identities_at_start(generator):
    network = build_denoiser("SiT-micro/2", 4, (8, 8), n_classes=3)
    noisy = torch.randn(2, 4, 8, 8, generator=generator)
    prediction, tokens = network(noisy, torch.rand(2, generator=generator), torch.tensor([0, -1]), tap=4)
    assert not prediction.any()
    assert torch.equal(tokens, network.first(patchify(noisy, 2)) + network.positions)


def test_sit_qk_norm_ignores_the_scale_of_queries_and_keys(generator):
    noisy, t = torch.randn(2, 4, 8, 8, generator=generator), torch.rand(2, generator=generator)
    for qk_norm in (True, False):
        network = build_denoiser("SiT-micro/2", 4, (8, 8), qk_norm=qk_norm)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.1, generator=generator)
        before, _ = network(noisy, t)
        with torch.no_grad():
            for block in network.blocks:
                block.attention.qkv.weight[: 2 * 128] *= 3
                block.attention.qkv.bias[: 2 * 128] *= 3
        after, _ = network(noisy, t)
        assert torch.allclose(before, after, atol=1e-4) == qk_norm
