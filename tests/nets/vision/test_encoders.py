import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from spectrum_matching.nets.vision.encoders import KINDS, RECIPES, VisionTokens, canonical, open_vision
from spectrum_matching.nets.vision.gradients import gradient_map

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TOWER = {**SMALL, "image_size": 28, "patch_size": 7}
TEXT = {**SMALL, "vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
DINO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}

# kind: the model whose folder it is, its arguments, the side that the encoder sees, patch, leading tokens
MODELS = {
    "dinov2": ("Dinov2Model", {**DINO, "image_size": 518, "patch_size": 14}, 224, 14, 1),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        {**DINO, "image_size": 518, "patch_size": 14, "num_register_tokens": 4},
        224,
        14,
        5,
    ),
    "dinov3_vit": (
        "DINOv3ViTModel",
        {**SMALL, "image_size": 64, "patch_size": 16, "num_register_tokens": 3},
        256,
        16,
        4,
    ),
    "clip": ("CLIPModel", {"vision_config": TOWER, "text_config": TEXT}, 28, 7, 1),
    "clip_vision_model": ("CLIPVisionModel", TOWER, 28, 7, 1),
    "siglip": ("SiglipModel", {"vision_config": TOWER, "text_config": TEXT}, 28, 7, 0),
    "siglip_vision_model": ("SiglipVisionModel", TOWER, 28, 7, 0),
}


def save(folder, kind, change=None, **other):
    name, arguments, *_ = MODELS[kind]
    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**{**arguments, **other})).eval()
    if change is not None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                change(name, parameter)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """kind → (folder, the model that was saved there)"""
    root = tmp_path_factory.mktemp("vision")
    return {kind: (root / kind, save(root / kind, kind)) for kind in MODELS}


def tower(model):
    return getattr(model, "vision_model", model)


def pictures(side, low=40, high=216):
    """Two uint8 images (2, side, side, 3) of smooth noise, and the same in [-1, 1] (2, 3, side, side)."""
    cells = np.random.default_rng(0).integers(low, high, (2, 9, 9, 3), dtype=np.uint8)
    resized = [np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BILINEAR)) for x in cells]
    levels = np.stack(resized)
    return levels, torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture
def seen(monkeypatch):
    """What a model of that class is given, from now on."""

    def watch(name):
        given, model_class = [], getattr(transformers, name)
        forward = model_class.forward

        def watched(self, pixel_values, **options):
            given.append(pixel_values)
            return forward(self, pixel_values, **options)

        monkeypatch.setattr(model_class, "forward", watched)
        return given

    return watch


def test_kinds_are_all_tested():
    assert set(MODELS) == set(KINDS)


@pytest.mark.parametrize("kind", MODELS)
def test_open_vision_gives_the_model_s_patch_tokens(models, kind):
    folder, model = models[kind]
    _, _, side, patch, leading = MODELS[kind]
    encoder = open_vision(str(folder))
    _, images = pictures(side)
    found = encoder(images)
    means, stds = (torch.tensor(x).view(3, 1, 1) for x in (KINDS[kind].mean, KINDS[kind].std))
    with torch.no_grad():
        everything = tower(model)((images / 2 + 0.5 - means) / stds).last_hidden_state
    assert everything.shape[1] == leading + (side // patch) ** 2
    torch.testing.assert_close(found.tokens, everything[:, leading:], rtol=1e-5, atol=1e-5)
    assert found.grid == encoder.grid(side) == encoder.grid(1000) == (side // patch, side // patch)
    assert (encoder.name, encoder.width, len(encoder.digest)) == (str(folder), 32, 16)
    assert torch.equal(found.field[:, :, 1, 2], found.tokens[:, side // patch + 2])


# The processors that the published folders name, which need no torchvision; DINOv3's own does, and has these settings.
PROCESSORS = {
    "dinov2": BitImageProcessorPil(image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD),
    "dinov3_vit": BitImageProcessorPil(image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, resample=2),
    "clip": CLIPImageProcessorPil(),
    "siglip": SiglipImageProcessorPil(),
}


@pytest.mark.parametrize("side", [19, 96, 256])
@pytest.mark.parametrize("kind", PROCESSORS)
def test_open_vision_prepares_pixels_as_transformers(models, seen, kind, side):
    given = seen(KINDS[kind].model)
    levels, images = pictures(side)
    encoder = open_vision(str(models[kind][0]))
    encoder(images)
    shown = given[0].shape[-1]
    assert shown == MODELS[kind][2]
    options = {"size": {"height": shown, "width": shown}, "do_center_crop": False, "return_tensors": "pt"}
    expected = PROCESSORS[kind](list(levels), **options)["pixel_values"]
    error = (given[0] - expected).abs() * torch.tensor(KINDS[kind].std).view(3, 1, 1) * 255
    assert error.max() < 1.2  # PIL rounds twice, once for each axis, and a bicubic kernel has weights of up to 1.3
    assert error.mean() < 0.4


def published_pixels(recipe, images):
    """What REPA and VA-VAE give DINOv2 for images in [-1, 1], restated."""
    if recipe == "va_vae":
        return torch.nn.functional.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    levels = (images + 1) * 127.5
    return torch.nn.functional.interpolate((levels / 255.0 - mean) / std, 224, mode="bicubic")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers"])
def test_open_vision_prepares_images_and_positions_as_published(models, seen, kind, recipe):
    folder, model = models[kind]
    encoder, plain = open_vision(f"{recipe}:{folder}"), open_vision(str(folder))
    given = seen(MODELS[kind][0])
    _, images = pictures(256)
    found = encoder(images)
    torch.testing.assert_close(given[0], published_pixels(recipe, images), rtol=0, atol=1e-4)

    # timm's resample_abs_pos_embed, restated; then the model needs to resample nothing.
    positions = model.embeddings.position_embeddings
    field = positions[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    field = torch.nn.functional.interpolate(field, (16, 16), mode="bicubic", antialias=True)
    resampled = torch.cat([positions[:, :1], field.permute(0, 2, 3, 1).reshape(1, 256, -1)], dim=1)
    model.embeddings.position_embeddings = torch.nn.Parameter(resampled)
    with torch.no_grad():
        expected = model(given[0]).last_hidden_state[:, encoder.n_leading :]
    model.embeddings.position_embeddings = positions
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=2e-5)
    assert found.grid == (16, 16)
    assert (found.tokens - plain(images).tokens).abs().max() > 1e-3
    assert len({encoder.digest, plain.digest}) == 2
    assert "not antialiased, positions antialiased" in encoder.resizer


def test_recipes_differ_by_digest_and_refuse_other_models(models):
    folder = models["dinov2"][0]
    assert len({open_vision(f"{recipe}:{folder}").digest for recipe in RECIPES}) == len(RECIPES)
    assert canonical(f"repa:{folder}") == f"repa:{folder.resolve()}"
    assert canonical("va_vae:hub:facebook/dinov2-large") == "va_vae:hub:facebook/dinov2-large"
    with pytest.raises(ValueError, match=r"prepares images for DINOv2, and .* holds a model of type clip"):
        open_vision(f"repa:{models['clip'][0]}")


def test_open_vision_clamps_overshoot_as_transformers(models, seen):
    given = seen("CLIPVisionModel")
    stripes = np.zeros((1, 14, 14, 3), dtype=np.uint8)
    stripes[:, :, ::5] = 255
    open_vision(str(models["clip"][0]))(torch.from_numpy(stripes).permute(0, 3, 1, 2) / 127.5 - 1)
    options = {"size": {"height": 28, "width": 28}, "do_center_crop": False, "return_tensors": "pt"}
    expected = PROCESSORS["clip"](list(stripes), **options)["pixel_values"]
    error = (given[0] - expected).abs() * torch.tensor(KINDS["clip"].std).view(3, 1, 1) * 255
    assert error.max() < 0.6  # along one axis PIL rounds once


def test_open_vision_follows_the_folder_s_preprocessing(models, seen, tmp_path):
    save(tmp_path, "siglip")
    before = open_vision(str(tmp_path))
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    given = seen("SiglipVisionModel")
    levels, images = pictures(64)
    encoder = open_vision(str(tmp_path))
    encoder(images)
    processor = SiglipImageProcessorPil(**own, size={"height": 28, "width": 28})
    expected = processor(list(levels), return_tensors="pt")["pixel_values"]
    error = (given[0] - expected).abs() * torch.tensor(own["image_std"]).view(3, 1, 1) * 255
    assert error.max() < 1.01
    assert encoder.digest != before.digest
    assert encoder.resizer == "bilinear to 28, antialiased; mean (0.1, 0.2, 0.3), deviation (0.4, 0.5, 0.6)"


def blind(name, parameter):
    """Leaves a model nothing that tells one place from another."""
    if any(part in name for part in ("position", "q_proj", "k_proj")):
        parameter.zero_()


@pytest.mark.parametrize("kind", MODELS)
def test_vision_tokens_are_row_by_row(tmp_path, kind):
    save(tmp_path, kind, blind)
    _, _, side, patch, _ = MODELS[kind]
    images = torch.full((1, 3, side, side), -0.5)
    images[..., side // 2 :] = 0.5
    field = open_vision(str(tmp_path))(images).field
    half = side // patch // 2
    left, right = field[..., :half], field[..., half:]
    for part in (left, right):
        torch.testing.assert_close(part, part[..., :1, :1].expand_as(part), rtol=1e-4, atol=1e-4)
    assert (left[..., 0, 0] - right[..., 0, 0]).abs().max() > 0.1


@pytest.mark.parametrize("kind", MODELS)
def test_open_vision_size_changes_the_grid(models, kind):
    folder, model = models[kind]
    *_, patch, leading = MODELS[kind]
    size = 3 * patch
    encoder = open_vision(str(folder), size=size)
    _, images = pictures(size)
    found = encoder(images)
    assert found.grid == encoder.grid(size) == (3, 3)
    means, stds = (torch.tensor(x).view(3, 1, 1) for x in (KINDS[kind].mean, KINDS[kind].std))
    options = {"interpolate_pos_encoding": True} if "clip" in kind or "siglip" in kind else {}
    with torch.no_grad():
        everything = tower(model)((images / 2 + 0.5 - means) / stds, **options).last_hidden_state
    torch.testing.assert_close(found.tokens, everything[:, leading:], rtol=1e-5, atol=1e-5)
    assert encoder.digest == open_vision(str(folder)).digest


def test_open_vision_rounds_a_declared_size_down(tmp_path):
    save(tmp_path, "siglip_vision_model", image_size=30)
    encoder = open_vision(str(tmp_path))
    assert encoder(torch.zeros(1, 3, 30, 30)).grid == (4, 4)
    assert encoder.resizer.startswith("bicubic to 28,")


def test_open_vision_is_silent_about_unread_weights(models, caplog):
    talk = logging.getLogger("transformers")  # passes nothing on to the root
    caplog.set_level(logging.WARNING, talk.name)
    talk.addHandler(caplog.handler)
    try:
        open_vision(str(models["clip"][0]))
    finally:
        talk.removeHandler(caplog.handler)
    assert not caplog.records
    assert talk.level == logging.WARNING


@pytest.mark.parametrize("spec", ["gradients:8", "clip"])
def test_vision_encoder_has_no_graph_and_is_float32(models, spec):
    encoder = open_vision(str(models[spec][0]) if spec in models else spec)
    images = pictures(32)[1].requires_grad_()
    plain = encoder(images).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = encoder(images).tokens
        half = encoder(images.bfloat16()).tokens
    assert not plain.requires_grad
    assert not plain.is_inference()
    assert torch.equal(cast, plain)
    assert half.dtype == torch.float32
    assert torch.equal(half, encoder(images.bfloat16().float()).tokens)


def test_open_vision_uses_half_weights_in_float32(tmp_path):
    model = save(tmp_path, "clip_vision_model")
    model.half().save_pretrained(tmp_path)
    found = open_vision(str(tmp_path))(torch.zeros(1, 3, 28, 28)).tokens
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (KINDS["clip"].mean, KINDS["clip"].std))
    with torch.no_grad():
        expected = model.float()(((0.5 - mean) / std).expand(1, 3, 28, 28)).last_hidden_state[:, 1:]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_vision_encoder_digest_follows_the_weights(tmp_path):
    model = save(tmp_path / "a", "clip_vision_model")
    save(tmp_path / "b", "clip_vision_model")
    digests = [open_vision(str(tmp_path / name)).digest for name in "ab"]
    with torch.no_grad():
        model.post_layernorm.weight[0] += 1
    model.save_pretrained(tmp_path / "b")
    digests.append(open_vision(str(tmp_path / "b")).digest)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    digests.append(open_vision(str(tmp_path / "sharded")).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(("spec", "cell"), [("gradients", 8), ("gradients:4", 4)])
def test_open_vision_gradients_need_no_transformers(monkeypatch, spec, cell):
    monkeypatch.setitem(sys.modules, "transformers", None)
    encoder = open_vision(spec)
    _, images = pictures(32)
    found = encoder(images)
    assert isinstance(found, VisionTokens)
    assert torch.equal(found.field, gradient_map(images, cell))
    assert found.grid == encoder.grid(32) == (32 // cell, 32 // cell)
    assert found.tokens.shape == (2, (32 // cell) ** 2, encoder.width)
    assert encoder.name == spec
    assert (encoder.digest == open_vision("gradients:8").digest) == (cell == 8)


@pytest.mark.parametrize(
    ("spec", "size", "complaint"),
    [
        ("gradients:x", None, "'gradients:x': the cell must be a whole number of pixels, as in gradients:8"),
        ("gradients:", None, "the cell must be a whole number"),
        ("gradients:0", None, "the cell must be a whole number"),
        ("gradients:-4", None, "the cell must be a whole number"),
        ("gradients", 64, "gradients takes images at their own size: leave size 64 out"),
        ("/nowhere", None, "/nowhere is not a folder with config.json .* or hub:owner/name"),
        ("dinov2", None, "dinov2 is not a folder with config.json"),
        ("gradents:4", None, r"gradents:4 is not a folder with config.json .* \(did you mean gradients\?\): give"),
        ("hub:someone/nothing", None, "someone/nothing.*the hub did not give it"),
        ("hub:no such name", None, "neither a folder that exists nor a hub name"),
    ],
)
def test_open_vision_names_what_does_not_open_with_the_remedy(spec, size, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        open_vision(spec, size=size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        (30, "patches of 7 pixels, which size 30 does not fit: give size 28 or 35"),
        (10, "give size 14$"),
        (7, "give size 14$"),
        (0, "give size 14$"),
    ],
)
def test_open_vision_refuses_a_size_that_is_no_multiple_of_the_patch(models, size, complaint):
    with pytest.raises(ValueError, match=complaint):
        open_vision(str(models["clip"][0]), size=size)


def drop(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "of type bert: known .* dinov2, .*siglip"),
        (lambda f: (f / "config.json").write_text("{}"), "of type None: known vision encoders"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is damaged: it is not a JSON object"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            "no model.*safetensors in .*: pickled weights .* are not opened",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "do not load as CLIPVisionModel"),
        (lambda f: drop(f, "pre_layrnorm.weight"), "lack 1 tensors of CLIPVisionModel, first .*pre_layrnorm.weight"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"resample": 1}'), "resample is 1: must be 2 or 3"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [1]}'), "image_mean.1 is"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": 0.5}'), "image_mean is 0.5"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"resample": [3]}'), r"resample is \[3\]"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"do_normalize": false}'), "do_normalize is False"),
        (lambda f: (f / "config.json").write_text('{"model_type": ["clip"]}'), "known vision encoders"),
    ],
)
def test_open_vision_refuses_a_damaged_folder_in_one_line(tmp_path, damage, complaint):
    save(tmp_path, "clip_vision_model")
    damage(tmp_path)
    with pytest.raises(ValueError, match=complaint) as caught:
        open_vision(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_open_vision_without_transformers_says_what_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers: pip install 'spectrum-matching\[vision\]'"):
        open_vision(str(models["clip"][0]))


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (torch.zeros(2, 3, 32, 16), r"got images \(2, 3, 32, 16\), expected square ones"),
        (torch.zeros(2, 1, 32, 32), "expected square ones"),
        (torch.zeros(3, 32, 32), "expected square ones"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), r"images of torch.uint8, expected floats in \[-1, 1\]"),
    ],
)
@pytest.mark.parametrize("spec", ["gradients", "clip"])
def test_vision_encoder_refuses_what_is_no_image(models, spec, images, complaint):
    encoder = open_vision(str(models[spec][0]) if spec in models else spec)
    with pytest.raises(ValueError, match=complaint):
        encoder(images)


@pytest.mark.parametrize("side", [36, 8])
def test_vision_encoder_gradients_refuse_sides_that_do_not_fit(side):
    encoder = open_vision("gradients")
    for call in (encoder.grid, lambda n: encoder(torch.zeros(1, 3, n, n))):
        with pytest.raises(ValueError, match=f"{side} x {side} pixels have no grid of cells of 8"):
            call(side)
