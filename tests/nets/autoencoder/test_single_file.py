"""A checkpoint in the layout of latent diffusion gives what the same weights give in diffusers' own."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder

ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm"}


def small(**others: object) -> AutoencoderKL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderKL(
            **{
                "block_out_channels": (32, 64, 64),
                "down_block_types": ("DownEncoderBlock2D",) * 3,
                "up_block_types": ("UpDecoderBlock2D",) * 3,
                "layers_per_block": 2,
                "latent_channels": 5,
                **others,
            }
        ).eval()


def ldm_name(name: str, n_levels: int = 3) -> str:
    """A parameter's name in the layout of latent diffusion, where the decoder's levels are counted from the finest."""
    if up := re.match(r"(decoder)\.up_blocks\.(\d+)\.(.*)", name):
        name = f"decoder.up.{n_levels - 1 - int(up[2])}.{up[3]}"
    name = re.sub(r"down_blocks\.(\d+)", r"down.\1", name)
    name = re.sub(r"(down|up)samplers\.0", r"\1sample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"(down|up)\.(\d+)\.resnets\.(\d+)", r"\1.\2.block.\3", name)
    if attention := re.match(r"(.*)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)", name):
        name = f"{attention[1]}.mid.attn_1.{ATTENTION[attention[2]]}.{attention[3]}"
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def ldm_weights(model: AutoencoderKL) -> dict[str, Tensor]:
    weights = {ldm_name(name): value.clone() for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if ".attn_1." in name and value.ndim == 2:  # a 1 × 1 convolution in that layout
            weights[name] = value[:, :, None, None]
    return weights


def same_numbers(autoencoder: Autoencoder, model: AutoencoderKL) -> None:
    x = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        posterior, theirs = autoencoder.encode(x), model.encode(x).latent_dist
        assert torch.equal(posterior.mean, theirs.mean)
        assert torch.equal(posterior.logvar, theirs.logvar)
        assert torch.equal(autoencoder.decode(theirs.mean), model.decode(theirs.mean).sample)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
def test_load_single_file_gives_the_same_numbers(tmp_path: Path, prefix: str) -> None:
    model = small()
    weights = {prefix + name: value for name, value in ldm_weights(model).items()}
    if prefix:  # a whole model
        weights["model.diffusion_model.out.2.weight"] = torch.zeros(4, 320, 3, 3)
    save_file(weights, tmp_path / "model.safetensors")
    autoencoder = Autoencoder.from_pretrained(tmp_path / "model.safetensors")
    assert (autoencoder.kind, autoencoder.factor, autoencoder.channels) == ("AutoencoderKL", 4, 5)
    assert autoencoder.latent_space == LatentSpace()
    same_numbers(autoencoder, model)


@pytest.mark.parametrize(
    "config",
    [
        {"layers_per_block": 1, "mid_block_add_attention": False},
        {"use_quant_conv": False, "use_post_quant_conv": False, "latent_channels": 16},
        {"block_out_channels": (32, 32, 64), "layers_per_block": 3},
    ],
)
def test_load_single_file_infers_the_architecture(tmp_path: Path, config: dict[str, object]) -> None:
    model = small(**config)
    save_file(ldm_weights(model), tmp_path / "model.safetensors")
    same_numbers(Autoencoder.from_pretrained(tmp_path / "model.safetensors"), model)


def test_load_single_file_declares_the_stored_scale_factor(tmp_path: Path) -> None:
    weights = ldm_weights(small()) | {"scale_factor": torch.tensor(0.25)}
    save_file(weights, tmp_path / "model.safetensors")
    autoencoder = Autoencoder.from_pretrained(tmp_path / "model.safetensors")
    assert autoencoder.latent_space == LatentSpace("scale", (0.0,), (4.0,))
    assert autoencoder.latent_space.std == (4.0,)


def test_load_single_file_reads_half_precision_in_float32(tmp_path: Path) -> None:
    model = small()
    halves = {name: value.half() for name, value in ldm_weights(model).items()}
    save_file(halves, tmp_path / "model.safetensors")
    autoencoder = Autoencoder.from_pretrained(tmp_path / "model.safetensors")
    assert {p.dtype for p in autoencoder.parameters()} == {torch.float32}
    autoencoder.save_pretrained(tmp_path / "folder")
    same_numbers(Autoencoder.from_pretrained(tmp_path / "folder"), model.half().float())


def test_load_single_file_refuses_other_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = ldm_weights(small())

    def refused(tensors: dict[str, Tensor], message: str) -> None:
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
        with pytest.raises(ValueError, match=message) as caught:
            Autoencoder.from_pretrained(path)
        assert "\n" not in str(caught.value)

    refused({"layer.weight": torch.zeros(2)}, r"has no encoder.down.0.*expected an autoencoder in the layout")
    refused(small().state_dict(), r"has no encoder.down.0.*a folder that save_pretrained wrote is read too")
    refused(weights | {"quantize.embedding.weight": torch.zeros(8, 5)}, "holds no KL autoencoder")
    refused(weights | {"encoder.down.2.attn.0.q.weight": torch.zeros(64, 64, 1, 1)}, "attention between levels")
    refused(
        {k: v for k, v in weights.items() if k != "decoder.conv_out.bias"}, "lack 1 tensors, first decoder.conv_out"
    )
    refused(weights | {"decoder.conv_out.bias": torch.zeros(4)}, "do not load: ")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        Autoencoder.from_pretrained(path)
