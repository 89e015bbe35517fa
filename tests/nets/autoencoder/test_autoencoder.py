import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from random_of_tests import images
from spectrum_matching.files.digests import digest_weights
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.nets.autoencoder import PRESETS, Autoencoder, check_size

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def autoencoder() -> Autoencoder:
    return Autoencoder.from_preset("tiny")


@pytest.fixture
def exported(tmp_path: Path, autoencoder: Autoencoder) -> Path:
    autoencoder.save_pretrained(tmp_path / "export")
    return tmp_path / "export"


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        ("f4d4", 55_325_927),
        ("f8d4", 83_653_863),  # as many as the public Stable Diffusion autoencoder
        ("f8d16", 83_821_011),
        ("f16d16", 64_352_723),
        ("f16d32", 64_577_827),
        ("f32d64", 93_363_651),
    ],
)
def test_from_preset_has_the_factor_and_channels_of_its_name(name: str, n_parameters: int) -> None:
    with torch.device("meta"):
        autoencoder = Autoencoder(AutoencoderKL(**PRESETS[name]))
        latents = autoencoder.encode(torch.empty(1, 3, 64, 128)).mean
        assert autoencoder.decode(latents).shape == (1, 3, 64, 128)
    assert name == f"f{autoencoder.factor}d{autoencoder.channels}"
    assert latents.shape == (1, autoencoder.channels, 64 // autoencoder.factor, 128 // autoencoder.factor)
    assert sum(p.numel() for p in autoencoder.parameters()) == n_parameters
    assert autoencoder.latent_space == LatentSpace()


def test_encode_and_decode_take_any_legal_shape(autoencoder: Autoencoder) -> None:
    f, c = autoencoder.factor, autoencoder.channels
    posterior = autoencoder.encode(images(2, 3, 3 * f, 5 * f))
    assert posterior.mean.shape == posterior.logvar.shape == (2, c, 3, 5)
    assert autoencoder.decode(posterior.mean).shape == (2, 3, 3 * f, 5 * f)
    draws = [posterior.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_from_preset_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = Autoencoder.from_preset("tiny", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert same_weights(first, Autoencoder.from_preset("tiny", seed=1))
    assert not torch.equal(first.layers.decoder_output, Autoencoder.from_preset("tiny", seed=2).layers.decoder_output)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 1, 16, 16), (1, 3, 16, 18), (1, 3, 2, 16), (1, 3, 0, 16)])
def test_encode_refuses_images_of_another_shape(autoencoder: Autoencoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"images are {shape}; expected (b, 3, H, W)")):
        autoencoder.encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(4, 4, 4), (1, 5, 4, 4)])
def test_decode_refuses_latents_of_another_shape(autoencoder: Autoencoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"latents are {shape}; this autoencoder decodes")):
        autoencoder.decode(torch.zeros(shape))


def test_from_preset_suggests_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"no preset 'f16d23': the presets are f16d32, .*tiny"):
        Autoencoder.from_preset("f16d23")


def test_train_only_decoder_leaves_the_posterior_unchanged(autoencoder: Autoencoder) -> None:
    x = images(2, 3, 16, 16)
    before = autoencoder.encode(x).mean
    autoencoder.train_only("decoder")
    optimizer = torch.optim.SGD([p for p in autoencoder.parameters() if p.requires_grad], 0.1)
    reconstructed = autoencoder.decode(autoencoder.encode(x).mean)
    (reconstructed - x).square().mean().backward()
    optimizer.step()
    assert torch.equal(autoencoder.encode(x).mean, before)
    moving = [name for name, p in autoencoder.model.named_parameters() if p.grad is not None and p.grad.any()]
    assert {name.partition(".")[0] for name in moving} == {"decoder", "post_quant_conv"}
    autoencoder.train_only("all")
    assert all(p.requires_grad for p in autoencoder.parameters())


def test_layers_decoder_output_scales_the_decoded_image(autoencoder: Autoencoder) -> None:
    latents = torch.randn(1, autoencoder.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    bias = autoencoder.model.decoder.conv_out.bias
    with torch.no_grad():
        bias.zero_()
        once = autoencoder.decode(latents)
        autoencoder.layers.decoder_output.mul_(2)
        torch.testing.assert_close(autoencoder.decode(latents), 2 * once)


def test_encode_gives_float32_under_autocast_and_in_bf16(autoencoder: Autoencoder) -> None:
    x = images(2, 3, 16, 16)
    full = autoencoder.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = autoencoder.encode(x)
    half = autoencoder.bfloat16().encode(x)
    for posterior in (mixed, half):
        assert posterior.mean.dtype == posterior.logvar.dtype == torch.float32
        torch.testing.assert_close(posterior.mean, full.mean, atol=0.05, rtol=0.05)
    assert autoencoder.decode(half.mean).dtype == torch.bfloat16


def test_save_pretrained_opens_in_diffusers_bit_for_bit(tmp_path: Path, autoencoder: Autoencoder) -> None:
    autoencoder.save_pretrained(tmp_path, LatentSpace("scale", (0.0,), (4.0,)))
    theirs = AutoencoderKL.from_pretrained(tmp_path)
    assert same_weights(theirs, autoencoder.model)
    assert (theirs.config.scaling_factor, theirs.config.shift_factor) == (0.25, None)
    latents = autoencoder.encode(images(1, 3, 16, 16)).mean
    assert torch.equal(theirs.decode(latents).sample, autoencoder.decode(latents))


def test_save_pretrained_keeps_factors_and_drops_the_old_path(exported: Path) -> None:
    first = Autoencoder.from_pretrained(exported)
    assert first.latent_space == LatentSpace()
    first.save_pretrained(exported, LatentSpace("scale", (0.0,), (4.0,)))
    second = Autoencoder.from_pretrained(exported)
    assert second.latent_space == LatentSpace("scale", (0.0,), (4.0,))
    second.save_pretrained(exported)
    assert Autoencoder.from_pretrained(exported).latent_space == second.latent_space
    assert "_name_or_path" not in json.loads((exported / "config.json").read_text())


def test_from_pretrained_takes_the_default_scaling_of_diffusers(exported: Path) -> None:
    config = exported / "config.json"
    declared = json.loads(config.read_text())
    config.write_text(json.dumps(declared | {"scaling_factor": None, "shift_factor": None}))
    null = Autoencoder.from_pretrained(exported)
    assert null.latent_space == LatentSpace()
    config.write_text(json.dumps({k: v for k, v in declared.items() if not k.endswith("_factor")}))
    assert Autoencoder.from_pretrained(exported).latent_space.std == (1 / 0.18215,)


def test_from_pretrained_reads_fp16_in_float32(exported: Path, autoencoder: Autoencoder) -> None:
    save_file({name: w.half() for name, w in load_file(exported / WEIGHTS).items()}, exported / WEIGHTS)
    read = Autoencoder.from_pretrained(exported)
    assert {p.dtype for p in read.parameters()} == {torch.float32}
    assert same_weights(read, autoencoder.half().float())


def test_from_pretrained_finds_a_pipeline_s_autoencoder(exported: Path) -> None:
    pipeline = exported.parent / "pipeline"
    shutil.copytree(exported, pipeline / "vae")
    shutil.copytree(exported, exported.parent / "older" / "movq")
    assert same_weights(Autoencoder.from_pretrained(exported.parent / "older"), Autoencoder.from_pretrained(exported))
    assert same_weights(Autoencoder.from_pretrained(pipeline), Autoencoder.from_pretrained(exported))


def test_from_pretrained_downloads_only_what_it_reads(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, fetched = exported.parent / "repository", exported.parent / "fetched"
    shutil.copytree(exported, repository / "vae")
    for other in ("vae/diffusion_pytorch_model.bin", f"unet/{WEIGHTS}", "unet/config.json"):
        (repository / other).parent.mkdir(exist_ok=True)
        (repository / other).touch()
    (repository / "model_index.json").write_text("{}")

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        names = [str(f.relative_to(repository)) for f in repository.rglob("*") if f.is_file()]
        for file in huggingface_hub.utils.filter_repo_objects(names, allow_patterns=allow_patterns):
            (fetched / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / file, fetched / file)
        return str(fetched)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert same_weights(Autoencoder.from_pretrained("owner/name"), Autoencoder.from_pretrained(exported))
    files = {str(f.relative_to(fetched)) for f in fetched.rglob("*") if f.is_file()}
    assert files == {"model_index.json", "vae/config.json", f"vae/{WEIGHTS}"}


def test_from_pretrained_explains_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"'owner/absent' is no local folder, and the hub .*hf download owner/absent"):
        Autoencoder.from_pretrained("owner/absent")
    with pytest.raises(ValueError, match="'runs/absent/export' is neither a folder that exists nor a hub name"):
        Autoencoder.from_pretrained("runs/absent/export")


@pytest.mark.parametrize("name", ["kl-f8.safetensors", "absent/kl-f8.ckpt"])
def test_from_pretrained_names_a_missing_file(name: str) -> None:
    with pytest.raises(ValueError, match=f"^no such file: {name}; check the path$"):
        Autoencoder.from_pretrained(name)


def test_from_pretrained_never_asks_the_hub_for_a_path(exported: Path) -> None:
    for path in (exported / "absent", exported / "config.json", "./absent"):
        with pytest.raises(ValueError, match="is not a folder"):
            Autoencoder.from_pretrained(path)


def test_from_pretrained_refuses_other_models_by_name(exported: Path) -> None:
    with pytest.raises(ValueError, match=r"no config.json in .* or .*vae"):
        Autoencoder.from_pretrained(exported.parent)
    config = exported / "config.json"
    config.write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(ValueError, match=r"holds UNet2DModel, no known autoencoder .*python:FILE\.py:FACTORY"):
        Autoencoder.from_pretrained(exported)
    config.write_text(json.dumps({"_class_name": "AutoencoderDCC"}))
    with pytest.raises(ValueError, match="near it: AutoencoderDC,"):
        Autoencoder.from_pretrained(exported)
    config.write_text(json.dumps({"_class_name": "AutoencoderOobleck"}))
    with pytest.raises(ValueError, match="holds AutoencoderOobleck, which cannot be measured: it encodes sound"):
        Autoencoder.from_pretrained(exported)
    config.write_text("{")
    with pytest.raises(ValueError, match="is damaged: it is not JSON"):
        Autoencoder.from_pretrained(exported)


def test_from_pretrained_refuses_damaged_or_pickled_weights(exported: Path) -> None:
    file = exported / WEIGHTS
    # Cloned, since older safetensors map the file, which is truncated below.
    weights = {name: w.clone() for name, w in load_file(file).items()}
    whole = file.read_bytes()
    save_file({name: w for name, w in weights.items() if name != "decoder.conv_out.bias"}, file)
    with pytest.raises(ValueError, match=r"lack 1 tensors of AutoencoderKL, first decoder.conv_out.bias"):
        Autoencoder.from_pretrained(exported)
    save_file(weights | {"decoder.conv_out.bias": torch.zeros(4)}, file)
    with pytest.raises(ValueError, match=r"do not load as AutoencoderKL: .*decoder.conv_out.bias"):
        Autoencoder.from_pretrained(exported)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="do not load"):
        Autoencoder.from_pretrained(exported)
    file.unlink()
    torch.save(weights, exported / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled weights .* are not opened"):
        Autoencoder.from_pretrained(exported)
    save_file(weights, exported / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(ValueError, match=r"do not load as AutoencoderKL: .*diffusion_pytorch_model.safetensors"):
        Autoencoder.from_pretrained(exported)
    with pytest.raises(ValueError, match=r"\.bin is pickled and not opened"):
        Autoencoder.from_pretrained(exported / "diffusion_pytorch_model.bin")


@pytest.mark.parametrize("size", [16, 20])
def test_check_size_names_a_size_that_serves(size: int) -> None:
    codec = SimpleNamespace(size=None, multiple=16, factor=8)
    with pytest.raises(ValueError, match=r"take 32 or more$|; 32 is one$"):
        check_size("mine", codec, size)
    check_size("mine", codec, 32)


def test_from_pretrained_takes_a_run_directory_for_its_export(small_autoencoder, tmp_path):
    shutil.copytree(small_autoencoder, tmp_path / "export")
    (tmp_path / "run.yaml").write_text("steps: 4\n")
    one, same = (Autoencoder.from_pretrained(source) for source in (tmp_path, tmp_path / "export"))
    assert digest_weights(one) == digest_weights(same)
    shutil.rmtree(tmp_path / "export")
    with pytest.raises(ValueError, match="holds an unfinished training: rerun the same command"):
        Autoencoder.from_pretrained(tmp_path)


def test_from_pretrained_says_how_to_convert_a_pickled_checkpoint(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3)}, "step": 1}, tmp_path / "it's.ckpt")
    with pytest.raises(ValueError, match="is pickled and not opened; convert it:  ") as refused:
        Autoencoder.from_pretrained(tmp_path / "it's.ckpt")
    command = shlex.split(str(refused.value).partition("convert it:  ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert load_file(tmp_path / "it's.safetensors")["a"].tolist() == [0, 1, 2]
