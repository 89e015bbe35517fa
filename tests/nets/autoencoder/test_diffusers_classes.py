"""Every image autoencoder of diffusers through `Autoencoder`: shapes, ranges, normalisation, and its own numbers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, Flux2Pipeline
from diffusers.models import autoencoders

from random_of_tests import images
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.autoencoder.diffusers_classes import CLASSES, REFUSED

SMALL: dict[str, Any] = json.loads((Path(__file__).parent / "small_autoencoders.json").read_text())
KL, WAN = SMALL["AutoencoderKL"]["config"], SMALL["AutoencoderKLWan"]["config"]
PER_CHANNEL = LatentSpace("per channel", tuple(WAN["latents_mean"]), tuple(WAN["latents_std"]))
# Those whose own numbers are asked for in tests of their own, below.
ELSEWHERE = {"AutoencoderKLFlux2", "AutoencoderKLHunyuanVideo15", "AutoencoderKLKVAEVideo", "AutoencoderKLQwenImage21"}


def build(kind: str, config: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(diffusers, kind)(**config).eval()


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("name", SMALL)
def test_autoencoder_equals_each_class_of_diffusers(tmp_path: Path, name: str) -> None:
    kind, case = name.split()[0], SMALL[name]
    build(kind, case["config"]).save_pretrained(tmp_path)
    autoencoder = Autoencoder.from_pretrained(tmp_path)
    model = getattr(diffusers, kind).from_pretrained(tmp_path)
    is_stochastic, size = case.get("is_stochastic", True), case.get("size", 32)
    assert (autoencoder.kind, autoencoder.factor, autoencoder.channels) == (kind, case["factor"], case["channels"])
    assert (autoencoder.multiple, autoencoder.is_stochastic) == (case.get("multiple", case["factor"]), is_stochastic)
    assert autoencoder.latent_space == LatentSpace(
        case["latent_space"]["convention"], tuple(case["latent_space"]["mean"]), tuple(case["latent_space"]["std"])
    )

    x = images(2, 3, size, size)
    random = torch.get_rng_state()
    posterior = autoencoder.encode(x)
    side = size // case["factor"]
    assert posterior.mean.shape == posterior.logvar.shape == (2, case["channels"], side, side)
    decoded = autoencoder.decode(posterior.mean)
    assert decoded.shape == x.shape
    assert torch.equal(autoencoder.encode(x).mean, posterior.mean)
    assert torch.equal(autoencoder.decode(posterior.mean), decoded)
    assert torch.equal(torch.get_rng_state(), random)

    counts_from_zero, frames = kind == "AutoencoderRAE", case.get("frames", False)
    given = (x + 1) / 2 if counts_from_zero else x
    encoded = model.encode(given.unsqueeze(2) if frames else given)
    theirs = encoded.latent_dist.mode() if "latent_dist" in encoded else next(iter(encoded.values()))
    options: dict[str, Any] = {}
    if kind == "ConsistencyDecoderVAE":
        options["generator"] = [torch.Generator().manual_seed(0) for _ in x]
    if kind == "AutoencoderKLTemporalDecoder":
        options["num_frames"] = 1
    output = model.decode(theirs, **options).sample
    if frames:
        theirs, output = theirs.squeeze(2), output.squeeze(2)
    assert torch.equal(posterior.mean, theirs)
    assert torch.equal(decoded, output * 2 - 1 if counts_from_zero else output)
    if is_stochastic:
        assert torch.equal(posterior.logvar, encoded.latent_dist.logvar.reshape(posterior.logvar.shape))
    else:
        assert (posterior.logvar == -30).all()
        assert torch.equal(posterior.sample(torch.Generator().manual_seed(1)), posterior.mean)


def test_classes_cover_this_version_of_diffusers() -> None:
    there = {name for name, value in vars(autoencoders).items() if isinstance(value, type)}
    assert there <= CLASSES.keys() | REFUSED.keys()
    assert {name.split()[0] for name in SMALL} | ELSEWHERE == CLASSES.keys()


def saved_pipeline(folder: Path, model: Any, pipeline: str) -> LatentSpace:
    """The latent space of a model opened from the folder of a pipeline, the same by its own folder."""
    model.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    spaces = [Autoencoder.from_pretrained(source).latent_space for source in (folder, folder / "vae")]
    assert spaces[0] == spaces[1]
    return spaces[0]


@pytest.mark.parametrize("pipeline", ["GlmImagePipeline", "StableDiffusionXLPipeline"])
def test_latent_space_of_glm_image_leaves_the_scaling_factor_out(tmp_path: Path, pipeline: str) -> None:
    mean, std = [0.5, -0.25, 0.0, 1.0], [2.0, 0.5, 1.0, 4.0]
    model = build("AutoencoderKL", {**KL, "latents_mean": mean, "latents_std": std})
    space, units = saved_pipeline(tmp_path, model, pipeline), images(2, 4, 3, 5)
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (mean, std))
    scale = 1.0 if pipeline == "GlmImagePipeline" else 0.18215  # the class's default
    torch.testing.assert_close(space.from_unit(units), units * std / scale + mean)


@pytest.mark.parametrize("pipeline", ["Kandinsky5T2IPipeline", "Kandinsky5I2IPipeline", "FluxPipeline"])
def test_latent_space_of_kandinsky5_leaves_the_shift_out(tmp_path: Path, pipeline: str) -> None:
    model = build("AutoencoderKL", {**KL, "scaling_factor": 0.3611, "shift_factor": 0.1159})
    space, units = saved_pipeline(tmp_path, model, pipeline), images(2, 4, 3, 5)
    shift = 0.1159 if pipeline == "FluxPipeline" else 0.0
    torch.testing.assert_close(space.from_unit(units), units / 0.3611 + shift)


@pytest.mark.parametrize("pipeline", ["ErnieImagePipeline", "Flux2Pipeline"])
@torch.inference_mode()
def test_latent_space_of_ernie_image_has_its_own_eps(tmp_path: Path, pipeline: str) -> None:
    model = build("AutoencoderKLFlux2", KL)
    model.bn.running_mean.copy_(torch.linspace(-1, 1, 16))
    model.bn.running_var.fill_(1e-4)
    space, units = saved_pipeline(tmp_path, model, pipeline), images(1, 16, 2, 2)
    std = torch.sqrt(model.bn.running_var.view(1, -1, 1, 1) + (1e-5 if pipeline == "ErnieImagePipeline" else 1e-4))
    theirs = units * std + model.bn.running_mean.view(1, -1, 1, 1)
    torch.testing.assert_close(space.from_unit(units), torch.nn.functional.pixel_shuffle(theirs, 2))


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    ("kind", "pipeline", "declared"),
    [
        ("AutoencoderKL", "GlmImagePipeline", {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}),
        ("AutoencoderKL", "Kandinsky5T2IPipeline", {"scaling_factor": 0.3611, "shift_factor": 0.1159}),
        ("AutoencoderKLFlux2", "ErnieImagePipeline", {}),
    ],
)
def test_save_pretrained_keeps_the_scale_of_a_pipeline_wherever_it_is_opened(
    tmp_path: Path, kind: str, pipeline: str, declared: dict[str, Any], measured: bool
) -> None:
    model = build(kind, {**KL, **declared})
    if kind == "AutoencoderKLFlux2":
        model.bn.running_var.fill_(1e-4)
    space = saved_pipeline(tmp_path / "base", model, pipeline)
    new = replace(space, mean=tuple(x / 2 for x in space.mean), std=tuple(x * 3 for x in space.std))
    Autoencoder.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "vae", new if measured else None)
    alone = Autoencoder.from_pretrained(tmp_path / "vae").latent_space
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    within = Autoencoder.from_pretrained(tmp_path).latent_space
    expected, units = new if measured else space, images(1, 4 * space.patch**2, 2, 2)
    assert alone.to_unit(expected.from_unit(units)).allclose(units, atol=1e-5)
    assert within.to_unit(expected.from_unit(units)).allclose(units, atol=1e-5)


@torch.inference_mode()
def test_latent_space_of_flux2_equals_its_pipeline(tmp_path: Path) -> None:
    model = build("AutoencoderKLFlux2", KL)
    generator = torch.Generator().manual_seed(1)
    model.bn.running_mean.copy_(torch.randn(16, generator=generator))
    model.bn.running_var.copy_(torch.rand(16, generator=generator) + 0.5)
    model.save_pretrained(tmp_path)
    autoencoder = Autoencoder.from_pretrained(tmp_path)
    assert (autoencoder.factor, autoencoder.multiple, autoencoder.channels) == (2, 4, 4)
    x = images(2, 3, 16, 24)
    latents = autoencoder.encode(x).mean
    assert torch.equal(latents, model.encode(x).latent_dist.mean)
    assert torch.equal(autoencoder.decode(latents), model.decode(latents).sample)

    space = autoencoder.latent_space
    assert (space.convention, space.patch, len(space.mean)) == ("packed", 2, 16)
    pipeline = Flux2Pipeline.__new__(Flux2Pipeline)  # its encoding needs the autoencoder alone
    object.__setattr__(pipeline, "vae", model)
    theirs = pipeline._encode_vae_image(x, None)
    torch.testing.assert_close(space.to_unit(latents), theirs)
    torch.testing.assert_close(space.from_unit(space.to_unit(latents)), latents)


@torch.inference_mode()
def test_encode_adds_an_opaque_alpha_channel() -> None:
    model = build("AutoencoderKLQwenImage21", WAN | {"decoder_base_dim": 4})
    autoencoder, x = Autoencoder(model), images(2, 3, 16, 16)
    latents = autoencoder.encode(x).mean
    assert latents.shape == (2, 4, 4, 4)
    opaque = torch.cat([x, torch.ones(2, 1, 16, 16)], dim=1).unsqueeze(2)
    assert torch.equal(latents, model.encode(opaque).latent_dist.mean[:, :, 0])
    assert torch.equal(autoencoder.decode(latents), model.decode(latents.unsqueeze(2)).sample[:, :3, 0])
    assert autoencoder.latent_space == PER_CHANNEL


@torch.inference_mode()
def test_encode_takes_batches_for_classes_of_single_images() -> None:
    model = build("AutoencoderKLHunyuanVideo15", SMALL["AutoencoderKLHunyuanImageRefiner"]["config"])
    autoencoder, x = Autoencoder(model), images(2, 3, 32, 32)
    posterior = autoencoder.encode(x)
    assert posterior.logvar.shape == (2, 4, 8, 8)
    each = torch.cat([model.encode(one.unsqueeze(2)).latent_dist.mean[:, :, 0] for one in x.split(1)])
    assert torch.equal(posterior.mean, each)
    assert autoencoder.decode(each).shape == x.shape
    assert autoencoder.latent_space == LatentSpace("scale", (0.0,), (1 / 1.03682,))


@torch.inference_mode()
def test_encode_drops_a_variance_that_means_nothing() -> None:
    config = {"ch": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "z_channels": 4, "temporal_compress_times": 2}
    model = build("AutoencoderKLKVAEVideo", config)
    autoencoder, x = Autoencoder(model), images(1, 3, 32, 32)
    posterior, theirs = autoencoder.encode(x), model.encode(x.unsqueeze(2)).latent_dist
    assert (theirs.logvar == 0).all()
    assert (posterior.logvar == -30).all()
    assert torch.equal(posterior.mean, theirs.mean[:, :, 0])
    assert torch.equal(autoencoder.decode(posterior.mean), model.decode(theirs.mean).sample[:, :, 0])


@torch.inference_mode()
def test_decode_from_noise_is_independent_of_the_batch() -> None:
    config = SMALL["ConsistencyDecoderVAE"]["config"]
    autoencoder = Autoencoder(build("ConsistencyDecoderVAE", config))
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    together = autoencoder.decode(latents)
    torch.testing.assert_close(autoencoder.decode(latents[2:]), together[2:], atol=1e-4, rtol=1e-4)


def test_encode_and_decode_keep_to_a_fixed_size() -> None:
    config = SMALL["AutoencoderRAE"]["config"]
    autoencoder = Autoencoder(build("AutoencoderRAE", config))
    assert autoencoder.size == 32
    with pytest.raises(ValueError, match=r"expected \(b, 3, H, W\) with H = W = 32"):
        autoencoder.encode(images(1, 3, 64, 64))
    with pytest.raises(ValueError, match="decodes h = w = 4 alone"):
        autoencoder.decode(torch.zeros(1, 64, 2, 2))


def test_decode_gives_noise_level_zero() -> None:
    config = SMALL["AutoencoderKLLTXVideo"]["config"]
    model = build("AutoencoderKLLTXVideo", config | {"timestep_conditioning": True})
    latents = torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(0))
    decoded = Autoencoder(model).decode(latents)
    assert torch.equal(decoded, model.decode(latents.unsqueeze(2), torch.zeros(2)).sample[:, :, 0])
    model = build("AutoencoderKLLTXVideo", config | {"decoder_inject_noise": (True, False, False, False, False)})
    with pytest.raises(ValueError, match="draws noise inside its decoder"):
        Autoencoder(model)


def test_autoencoder_of_grey_images_is_taken_live_and_refused_from_files(tmp_path: Path) -> None:
    model = build("AutoencoderKL", KL | {"in_channels": 1, "out_channels": 1})
    autoencoder, x = Autoencoder(model), images(2, 1, 16, 24)
    assert autoencoder.image_channels == 1
    assert autoencoder.decode(autoencoder.encode(x).mean).shape == x.shape
    with pytest.raises(ValueError, match=r"images are \(2, 3, 16, 16\); expected \(b, 1, H, W\)"):
        autoencoder.encode(images(2, 3, 16, 16))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="encodes images of 1 channels, and files are read as RGB: in Python, analyze"):
        Autoencoder.from_pretrained(tmp_path)


def test_autoencoder_leaves_a_live_model_unchanged() -> None:
    model = build("AutoencoderKL", KL).train()
    model.encoder.requires_grad_(False)
    autoencoder = Autoencoder(model)
    assert autoencoder.model is model
    assert model.training
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.requires_grad for p in model.decoder.parameters())

    assert Autoencoder(torch.compile(model)).model is model

    class Mine(AutoencoderKL):
        """A subclass is called as its parent is."""

    assert Autoencoder(Mine(**KL)).latent_space == LatentSpace("scale", (0.0,), (1 / 0.18215,))
    with pytest.raises(ValueError, match=r"AutoencoderKLAllegro cannot be measured: .*24 frames"):
        Autoencoder(object.__new__(diffusers.AutoencoderKLAllegro))
