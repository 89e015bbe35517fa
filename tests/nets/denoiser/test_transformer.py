import pytest
import torch

from spectrum_matching.nets.denoiser.build import build_denoiser
from spectrum_matching.nets.denoiser.transformer import Attention, fixed_positions, patchify, unpatchify


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patchify_is_inverted_by_unpatchify(patch, generator):
    field = torch.randn(2, 3, 8, 12, generator=generator)
    tokens = patchify(field, patch)
    assert tokens.shape == (2, 96 // patch**2, 3 * patch**2)
    for i in range(tokens.shape[1]):
        row, column = patch * (i // (12 // patch)), patch * (i % (12 // patch))
        cell = field[:, :, row : row + patch, column : column + patch]
        assert torch.equal(tokens[:, i].sort().values, cell.flatten(1).sort().values)
    assert torch.equal(unpatchify(tokens, (8, 12), patch), field)


def test_fixed_positions_similarity_depends_on_their_offset():
    alike = (p := fixed_positions(5, 8, 64).view(5, 8, 64)) @ p.view(40, 64).T
    alike = alike.view(5, 8, 5, 8)
    torch.testing.assert_close(alike[:-1, :-1, :-1, :-1], alike[1:, 1:, 1:, 1:])
    assert alike[0, 0].argmax() == 0
    assert alike[0, 0, 0, 1] != alike[0, 0, 2, 0]


def test_fixed_positions_are_half_column_half_row():
    column, row = fixed_positions(5, 8, 64).view(5, 8, 64).chunk(2, dim=-1)
    assert torch.equal(column, column[:1].expand(5, -1, -1))
    assert torch.equal(row, row[:, :1].expand(-1, 8, -1))
    assert len(column[0].unique(dim=0)) == 8
    assert len(row[:, 0].unique(dim=0)) == 5


def test_attention_under_autocast_is_rounded_once(generator):
    attention, x = Attention(32, 4, bias=True), torch.randn(3, 16, 32, generator=generator)
    attention.out = torch.nn.Identity()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        q, k, v = attention.qkv(x).double().view(3, 16, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = attention(x)
    exact = ((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(1, 2).reshape(3, 16, 32)
    assert mixed.dtype == torch.bfloat16
    assert ((mixed - exact).abs() <= 2**-7.99 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("name", ["SiT-micro/2", "UViT-micro/2"])
def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradients(name, generator):
    noisy, t = torch.randn(3, 4, 8, 8, generator=generator), torch.rand(3, generator=generator)
    labels, gradients, kept = torch.tensor([0, 1, -1]), [], []
    for checkpointing in (False, True):
        denoiser = build_denoiser(name, 4, (8, 8), n_classes=2)
        for parameter in denoiser.parameters():  # the last layers are zero at first
            torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(parameter.numel()))
        if checkpointing:
            denoiser.enable_gradient_checkpointing()
        n_bytes = []
        keep = torch.autograd.graph.saved_tensors_hooks(lambda x, n=n_bytes: (n.append(x.nbytes), x)[1], lambda x: x)
        with keep:
            prediction, tokens = denoiser(noisy, t, labels, tap=1)
        (prediction.square().mean() + tokens.square().mean()).backward()
        gradients.append([parameter.grad for parameter in denoiser.parameters() if parameter.grad is not None])
        kept.append(sum(n_bytes))
    assert len(gradients[0]) > 20
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert kept[1] < kept[0] / 4
