"""What is trained of each class of diffusers, at which last layers, and exported in its own format."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from codecs_of_tests import TwoHeads
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.padding import padding_of, set_padding

SMALL: dict[str, Any] = json.loads((Path(__file__).parent / "small_autoencoders.json").read_text())
PLAIN = {"AutoencoderKLFlux2": SMALL["AutoencoderKL"]} | SMALL
ONE_OF_EACH = [name for name in PLAIN if name != "AutoencoderRAE"]
SIZES = {name: case["size"] for name, case in SMALL.items() if "size" in case}
LAST = {
    "AutoencoderTiny": ("encoder.layers.6", "decoder.layers.9"),
    "AutoencoderKLMochi": ("encoder.proj_out", "decoder.proj_out"),
    "ConsistencyDecoderVAE": ("encoder.conv_out", "decoder_unet.conv_out"),
    "AutoencoderKLTemporalDecoder": ("encoder.conv_out", "decoder.time_conv_out"),
    "AutoencoderKLCosmos": ("encoder.conv_out.conv_t", "decoder.conv_out.conv_t"),
    **dict.fromkeys(
        (
            *("AutoencoderKLCogVideoX", "AutoencoderKLHunyuanImageRefiner", "AutoencoderKLLTXVideo"),
            *("AutoencoderKLLTX2Video", "Kandinsky6SRVAE", "AutoencoderKLHunyuanVideo"),
        ),
        ("encoder.conv_out.conv", "decoder.conv_out.conv"),
    ),
}


def build(name: str) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(getattr(diffusers, name.split()[0])(**PLAIN[name]["config"]))


def images(n: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1


def one_step(autoencoder: Autoencoder) -> set[str]:
    """Train by one step; return the parameters that changed."""
    before = {name: p.detach().clone() for name, p in autoencoder.model.named_parameters()}
    trained = [p for p in autoencoder.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, 1e-2)
    x = images(size=SIZES.get(autoencoder.kind, 32))
    latents = autoencoder.encode(x).mean
    loss = (autoencoder.decode(latents) - x).square().mean()
    loss = loss + sum(term.loss(None, latents, None) for term in autoencoder.terms)
    loss.backward()
    assert all(p.grad is not None for p in trained)  # a distributed wrapper waits for each of them
    optimizer.step()
    return {name for name, p in autoencoder.model.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_each_class_trains_as_a_whole_and_is_exported_in_its_own_format(tmp_path: Path, name: str) -> None:
    autoencoder, kind = build(name), name.split()[0]
    model, layers = autoencoder.model, autoencoder.layers
    encoder, decoder = LAST.get(kind, ("encoder.conv_out", "decoder.conv_out"))
    assert layers.encoder_output is model.get_submodule(encoder).weight
    assert layers.decoder_output is model.get_submodule(decoder).weight
    within = {id(p) for block in (*layers.encoder_blocks, *layers.decoder_blocks) for p in block.parameters()}
    assert not within & {id(layers.encoder_output), id(layers.decoder_output)}

    autoencoder.train_only("all")
    parts = {parameter.partition(".")[0] for parameter in one_step(autoencoder)}
    assert parts >= {encoder.partition(".")[0], decoder.partition(".")[0]}
    if kind == "VQModel":
        assert "quantize" in parts

    declared = autoencoder.latent_space
    n = len(declared.std)
    space = LatentSpace(
        "scale" if declared.convention == "none" else declared.convention,
        tuple(0.5 + i for i in range(n)) if len(declared.mean) == n and declared.mean != (0.0,) else declared.mean,
        tuple(2.0 + i for i in range(n)),
        declared.patch,
    )
    autoencoder.eval().save_pretrained(tmp_path, space)
    again = Autoencoder(getattr(diffusers, kind).from_pretrained(tmp_path))
    x = images(size=SIZES.get(kind, 32))
    assert torch.equal(again.encode(x).mean, autoencoder.encode(x).mean)
    if kind != "AutoencoderKLKVAE":  # which declares nothing
        assert again.latent_space.convention == space.convention
        assert again.latent_space.mean == pytest.approx(space.mean, rel=1e-6)
        assert again.latent_space.std == pytest.approx(space.std, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLAIN if " " not in name])
def test_decoder_alone_leaves_latents_bit_identical(tmp_path: Path, name: str) -> None:
    autoencoder = build(name)
    x = images(size=SIZES.get(name, 32))
    before = autoencoder.eval().encode(x)
    everything = {key: value.clone() for key, value in autoencoder.model.state_dict().items()}
    autoencoder.train_only("decoder")
    changed = one_step(autoencoder)
    assert changed
    assert {parameter.partition(".")[0] for parameter in changed} <= {"decoder", "decoder_unet", "post_quant_conv"}
    autoencoder.save_pretrained(tmp_path)
    again = Autoencoder(getattr(diffusers, name).from_pretrained(tmp_path))
    assert torch.equal(again.encode(x).mean, before.mean)
    kept = again.model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in everything.items() if key not in changed)
    assert again.latent_space == autoencoder.latent_space


def test_train_only_refuses_an_encoder_that_is_fixed_or_without_gradient() -> None:
    with pytest.raises(ValueError, match="encoder of this AutoencoderRAE is not trained: it is a vision encoder"):
        build("AutoencoderRAE").train_only("all")

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = torch.nn.Conv2d(3, 4, 2, 2), torch.nn.ConvTranspose2d(4, 3, 2, 2)

        @torch.no_grad()
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return self.encoder(x)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return self.decoder(z)

    autoencoder = Autoencoder(Fixed())
    with pytest.raises(ValueError, match="encoder of this Fixed is not trained: nothing in it has a gradient"):
        autoencoder.train_only("all")
    assert autoencoder.layers.encoder_output is None
    autoencoder.train_only("decoder")
    assert [p.requires_grad for p in autoencoder.parameters()] == [False, False, True, True]

    class Renamed(Fixed):
        def __init__(self) -> None:
            super().__init__()
            self.back = self.decoder
            del self.decoder

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return self.back(z)

    with pytest.raises(ValueError, match="this Renamed has no network to train among the attributes decoder,"):
        Autoencoder(Renamed()).train_only("decoder")
    with pytest.raises(ValueError, match=r"Fixed has no save_pretrained\(folder\)"):
        autoencoder.require_saving()


def test_layers_leave_the_network_as_it_was() -> None:
    autoencoder = build("AutoencoderKL").train()
    autoencoder.model.encoder.requires_grad_(False)
    before, random = [p.requires_grad for p in autoencoder.parameters()], torch.get_rng_state()
    assert len(autoencoder.layers.trained) == len(before)
    assert [p.requires_grad for p in autoencoder.parameters()] == before
    assert all(p.grad is None for p in autoencoder.parameters())
    assert not any(module._forward_hooks for module in autoencoder.modules())
    assert autoencoder.model.decoder.training
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLCosmos"])
def test_checkpoint_gradients_gives_the_same_gradients(name: str) -> None:
    found = []
    for checkpoints in (False, True):
        autoencoder = build(name)
        autoencoder.train_only("all")
        if checkpoints:
            autoencoder.checkpoint_gradients()
        x = images()
        (autoencoder.decode(autoencoder.encode(x).mean) - x).square().mean().backward()
        found.append([p.grad for p in autoencoder.parameters()])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_checkpoint_gradients_refuses_classes_that_lack_it_or_change_by_it() -> None:
    with pytest.raises(ValueError, match="AutoencoderDC has no gradient checkpointing"):
        build("AutoencoderDC").checkpoint_gradients()
    tiny, x = build("AutoencoderTiny"), images()
    latents = tiny.encode(x).mean
    with pytest.raises(ValueError, match="with gradient checkpointing this AutoencoderTiny gives other numbers"):
        tiny.checkpoint_gradients()
    assert torch.equal(tiny.encode(x).mean, latents)


def test_padding_of_a_side_is_set_and_found() -> None:
    autoencoder, x = build("AutoencoderKL"), images()
    latents = autoencoder.encode(x).mean
    decoded = autoencoder.decode(latents)
    assert padding_of(autoencoder.model) == ("", "")
    set_padding(autoencoder.model, ("", "reflect"))
    assert padding_of(autoencoder.model) == ("", "reflect")
    assert torch.equal(autoencoder.encode(x).mean, latents)
    assert not torch.equal(autoencoder.decode(latents), decoded)
    set_padding(autoencoder.model, ("replicate", ""))
    assert padding_of(autoencoder.model) == ("replicate", "reflect")
    assert not torch.equal(autoencoder.encode(x).mean, latents)
    with pytest.raises(ValueError, match="AutoencoderKLWan has no two-dimensional convolution that pads"):
        set_padding(build("AutoencoderKLWan").model, ("reflect", "reflect"))


class Tied(torch.nn.Module):
    """Encoder and decoder share one weight, as the same layer or by the same parameter."""

    def __init__(self, as_layer: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = torch.nn.Conv2d(3, 3, 1), torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
        if as_layer:
            self.decoder.insert(0, self.encoder)
        else:
            self.decoder[0].weight = self.encoder.weight

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.encoder(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(latents)


@pytest.mark.parametrize(("as_layer", "n_all", "n_decoder"), [(False, 15, 3), (True, 24, 12)])
def test_train_only_decoder_leaves_weights_that_the_encoder_shares(as_layer: bool, n_all: int, n_decoder: int) -> None:
    autoencoder = Autoencoder(Tied(as_layer))
    assert sum(p.numel() for p in autoencoder.parameters()) == n_all  # each once
    autoencoder.train_only("decoder")
    assert sum(p.numel() for p in autoencoder.parameters() if p.requires_grad) == n_decoder
    latents = autoencoder.encode(images()).mean
    assert one_step(autoencoder)
    assert torch.equal(autoencoder.encode(images()).mean, latents)
    autoencoder.train_only("all")
    one_step(autoencoder)
    assert autoencoder.model.decoder[0].weight is autoencoder.model.encoder.weight


def test_layers_of_the_variance_alone_are_trained_where_it_is_used() -> None:
    autoencoder = Autoencoder(TwoHeads())
    _, mean, logvar = autoencoder.model.encoder
    assert autoencoder.layers.encoder_output is mean.weight
    for part, variance, expected in (("all", True, True), ("all", False, False), ("decoder", True, False)):
        autoencoder.train_only(part, variance=variance)
        assert {p.requires_grad for p in logvar.parameters()} == {expected}
        assert {p.requires_grad for p in mean.parameters()} == {part == "all"}
