import ast
import dataclasses
import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import spectrum_matching
from spectrum_matching.methods import FeatureMatch, SpectralMask
from spectrum_matching.methods.zoo import METHODS
from spectrum_matching.nets.autoencoder import PRESETS as NETWORKS
from spectrum_matching.nets.vision.gradients import gradient_map
from spectrum_matching.training import autoencoder_config

RECORDS = [
    c
    for _, c in inspect.getmembers(autoencoder_config, dataclasses.is_dataclass)
    if c.__module__ == autoencoder_config.__name__
]
FOLLOWS = {"width", "channels", "seed"}  # from vision encoder, autoencoder and run


@pytest.mark.parametrize("name", autoencoder_config.PRESETS)
def test_presets_have_their_name_and_a_method_with_citation(name):
    run = autoencoder_config.PRESETS[name]()
    assert (run.name, run.out) == (name, f"runs/{name}")
    choice = replace(run.method, encoder="gradients:16") if run.method.vision else run.method
    method = choice.build()
    rows = sorted(autoencoder_config.ROWS, key=len, reverse=True)
    row = next((row for row in rows if name.endswith(row)), "autoencoder")  # of distill_tiny
    assert method.name == autoencoder_config.ROWS[row].name
    if method.name in ("esm", "esm_dsm"):
        assert method.terms[0].loss.variant == ("paper" if name.endswith("_paper") else "scale_free")
    assert method.citation
    assert run.network.pretrained or run.network.preset in NETWORKS


def test_autoencoder_run_has_no_field_that_is_never_read():
    sources = Path(spectrum_matching.__file__).parent.rglob("*.py")
    read = {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    options = {option for make in METHODS.values() for option in inspect.signature(make).parameters}
    assert len(RECORDS) == 10
    for record in RECORDS:
        known = options | {"name", "encoder_size"} if record is autoencoder_config.MethodChoice else read
        assert {f.name for f in dataclasses.fields(record)} <= known, record.__name__


def test_method_choice_has_every_option_of_the_zoo():
    assert set(METHODS) == set(autoencoder_config.MethodName.__args__)
    fields = {f.name for f in dataclasses.fields(autoencoder_config.MethodChoice)}
    for make in METHODS.values():
        assert set(inspect.signature(make).parameters) - FOLLOWS <= fields


def plain(method):
    """What of a method its options decide."""
    terms = [
        (t.name, t.weight, t.balanced, t.loss)
        if not isinstance(t.loss, FeatureMatch)
        else (t.name, t.weight, t.balanced, t.loss.cosine_margin, t.loss.distance_margin)
        for t in method.terms
    ]
    return method.name, terms, method.shared, method.added, method.before


@pytest.mark.parametrize("name", METHODS)
def test_method_choice_build_passes_options_or_refuses_them(name):
    values = {
        "kl_weight": 0.5,
        "esm_weight": 0.25,
        "delta": 1.5,
        "bins": 8,
        "variant": "paper",
        "keep": (3,),
        "block": 16,
        "factors": (1, 2),
        "added_weight": 0.5,
        "probability": 0.75,
        "prior": 0.5,
        "interpolation": "bicubic",
        "feature_weight": 0.5,
        "cosine_margin": 0.1,
        "distance_margin": 0.2,
    }
    fields = {f.name for f in dataclasses.fields(autoencoder_config.MethodChoice)}
    assert set(values) == fields - {"name", "encoder", "encoder_size"}
    needed = {"encoder": gradient_map, "width": 36, "channels": 1} if name == "va_vae" else {}
    for option, value in values.items():
        choice = autoencoder_config.MethodChoice(name, **{option: value})
        if option in inspect.signature(METHODS[name]).parameters:
            made, expected, default = (
                choice.build(),
                METHODS[name](**needed, **{option: value}),
                METHODS[name](**needed),
            )
            assert plain(made) == plain(expected) != plain(default)
        else:
            with pytest.raises(ValueError, match=f"method {name} has no option {option}; it has"):
                choice.build()


def test_method_choice_scales_the_published_strengths_to_its_block():
    for block, keep in ((None, (15, 7, 5, 3)), (4, (7, 3, 2, 1))):
        resolved = autoencoder_config.MethodChoice("dsm", block=block).resolved()
        assert (resolved.keep, resolved.block) == (keep, block or 8)
        assert resolved.build().shared == resolved.resolved().build().shared == SpectralMask(keep, block or 8)


def test_method_choice_build_gives_the_vision_encoder_to_its_row():
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for encoder, cell in (("gradients:4", 4), ("gradients", 8), (None, 8)):
        choice = autoencoder_config.MethodChoice("va_vae", encoder=encoder)
        loss = choice.build(channels=5, seed=3).terms[1].loss
        assert torch.equal(loss.features(images, (32 // cell, 32 // cell)), gradient_map(images, cell))
        expected = FeatureMatch(gradient_map, 36, 5, seed=3).projection.weight
        assert torch.equal(loss.projection.weight, expected)
    with pytest.raises(ValueError, match="method sd_vae has no option encoder; it has kl_weight"):
        autoencoder_config.MethodChoice("sd_vae", encoder="gradients").build()
    assert (
        autoencoder_config.MethodChoice("sd_vae").open_vision()
        is autoencoder_config.MethodChoice("sd_vae").vision
        is None
    )


def test_method_choice_opens_vision_at_the_given_size(save_dinov2, tmp_path):
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    choice = autoencoder_config.MethodChoice("va_vae", encoder=str(save_dinov2(tmp_path)), encoder_size=42)
    vision = choice.open_vision()
    assert choice.vision == (str(tmp_path), 42)
    assert vision.grid(32) == (3, 3)
    loss = choice.build(vision, channels=4).terms[1].loss
    assert torch.equal(loss.features(images, (3, 3)), vision(images).field)
    assert loss.projection.weight.shape == (vision.width, 4, 1, 1)


def test_presets_have_the_published_vision_encoder():
    encoders = {name: make().method.vision for name, make in autoencoder_config.PRESETS.items()}
    assert {name for name, vision in encoders.items() if vision} == {
        f"{family}_va_vae" for family in autoencoder_config.FAMILIES
    }
    assert encoders["tiny_va_vae"] == ("gradients:4", None)
    assert encoders["imagenet256_f16d16_va_vae"] == ("va_vae:hub:facebook/dinov2-large", None)


def test_presets_have_the_papers_numbers():
    runs = {name: make() for name, make in autoencoder_config.PRESETS.items()}
    assert runs["imagenet256_f16d16_sd_vae"].steps == 325_000  # 50,000 + (600,000 − 50,000) / 2
    assert runs["imagenet256_f16d16_dsm"].steps == 525_000  # 50,000 + (1,000,000 − 50,000) / 2
    for name, run in runs.items():
        if name.startswith(("celeba256", "imagenet256")):
            assert (run.optimizer.ema, run.optimizer.clip, run.discriminator.initial_std) == (0.0, 1.0, 0.2)
        if name.startswith("celeba256"):
            assert (run.steps, run.batch_size) == (275_000, 48)
            assert run.method.delta == (1.2 if "f8d4" in name and "delta" in run.method.options() else None)


def test_finetune256_takes_lpips_where_its_weights_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert autoencoder_config.finetune256().losses == autoencoder_config.Losses()
    (tmp_path / "weights" / "lpips").mkdir(parents=True)
    losses = autoencoder_config.finetune256().losses
    assert (losses.l1, losses.perceptual, losses.perceptual_weights) == (1.0, 1.0, "weights/lpips")
