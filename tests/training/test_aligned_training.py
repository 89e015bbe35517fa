"""Diffusion models trained beside an alignment: from images to cached targets, steps, resumes and exports."""

import copy
import shutil
from dataclasses import replace
from functools import partialmethod
from itertools import islice
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from spectrum_matching.analysis.cached import open_cached
from spectrum_matching.cli.cache import cache_latents
from spectrum_matching.cli.main import main
from spectrum_matching.data.order import batches_at
from spectrum_matching.diffusion import Path as DiffusionPath
from spectrum_matching.diffusion import Times, diffusion_loss
from spectrum_matching.files.yaml_files import to_yaml
from spectrum_matching.latents.alignment_targets import open_training_targets
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.nets.denoiser.build import token_grid
from spectrum_matching.nets.vision.encoders import canonical, open_vision
from spectrum_matching.sampling.model import open_model
from spectrum_matching.seeding import seeded
from spectrum_matching.training import diffusion_config
from spectrum_matching.training.diffusion_data import open_learned
from spectrum_matching.training.run_diffusion import run_diffusion
from spectrum_matching.training.train_diffusion import build_diffusion_state, train_diffusion

CPU = torch.device("cpu")
CHOICE = diffusion_config.AlignmentChoice(
    weight=0.5, encoder="gradients:8", tap=1, hidden=16, filter="dog", inner=0.0, outer=1.0, std="empirical"
)


@pytest.fixture(scope="module")
def cached(latent_cache, tmp_path_factory):
    """A cache with the targets of its images beside it, in two shards of other lengths than the latents'."""
    folder = Path(shutil.copytree(latent_cache, tmp_path_factory.mktemp("aligned") / "latents"))
    cache_latents("vision:gradients:8", beside=folder, shard_images=7, dtype="float32")
    return folder


@pytest.fixture
def sources(cached, class_folder, small_autoencoder):
    images = diffusion_config.Source(images=str(class_folder), size=32, held_out=0.0, flip=True, crop="random")
    return {
        "cached": diffusion_config.Source(latents=str(cached), flip=True),
        "encoded": replace(images, autoencoder=str(small_autoencoder)),
        "pixels": images,
    }


@pytest.fixture
def aligned(small_diffusion, sources):
    """A run of 4 steps on cached latents, aligned with cached targets."""
    return replace(small_diffusion, source=sources["cached"], alignment=CHOICE)


def built(run, data):
    return build_diffusion_state(run, data.shape, len(data.info.classes), CPU, data.target_shape)


def test_open_training_targets_reads_tokens_of_the_latents_images(cached):
    latents = open_latents(cached)
    targets = open_training_targets(None, latents, flip=True)
    assert (targets.encoder, targets.width, targets.grid) == ("gradients:8", 36, (4, 4))
    images = latents.info.images.open(latents.info.image_size)
    keys = [(11, False), (2, True), (2, False), (15, True)]
    shown = [next(batches_at(images, 1, [latents.image_keys[i]])).images[0] for i, _ in keys]
    shown = torch.stack([x.flip(-1) if mirrored else x for x, (_, mirrored) in zip(shown, keys, strict=True)])
    torch.testing.assert_close(targets.read(keys), open_vision("gradients:8")(shown).field)


def test_open_training_targets_follows_images_that_latents_lack(cached, tmp_path):
    folder = Path(shutil.copytree(cached, tmp_path / "part"))
    latents = open_latents(folder)
    whole = open_training_targets(None, latents, flip=False).read([(i, False) for i in range(16)])
    latents.image_keys = latents.image_keys[3:]
    part = open_training_targets(None, latents, flip=False).read([(i, False) for i in range(13)])
    assert torch.equal(part, whole[3:])


@pytest.mark.parametrize("kind", ["cached", "encoded", "pixels"])
def test_train_diffusion_adds_the_weighed_alignment_loss(small_diffusion, sources, kind):
    run = replace(small_diffusion, source=sources[kind], alignment=CHOICE, steps=3)
    if kind == "cached":
        plain = diffusion_config.AlignmentChoice()
        chosen = replace(CHOICE, projector="convolution", filter="normalise", inner=plain.inner, outer=plain.outer)
        run = replace(run, alignment=chosen)
    data = open_learned(run, CPU)
    assert data.target_shape == (36, 4, 4)
    state, plain = built(run, data), built(run, data)
    records = list(train_diffusion(run, state, data.batches(0, 1, 0, 3), Accelerator()))
    learned = [*plain.denoiser.parameters(), *plain.alignment.parameters()]
    for step, batch in enumerate(data.batches(0, 1, 0, 3)):
        plain.optimizer.param_groups[0]["lr"] = run.optimizer.lr * min(1, (step + 1) / 2)
        loss = diffusion_loss(
            plain.denoiser,
            DiffusionPath(),
            batch.data,
            batch.labels,
            times=Times(),
            generator=seeded("step", run.seed, 0, step),
            label_dropout=0.1,
            tap=1,
        )
        alignment = plain.alignment(loss.tokens, token_grid(plain.denoiser), batch.targets)
        (loss.total + 0.5 * alignment).backward()
        torch.nn.utils.clip_grad_norm_(learned, run.optimizer.clip)
        plain.optimizer.step()
        plain.optimizer.zero_grad()
        assert torch.equal(records[step].losses["loss"], loss.total.detach())
        assert torch.equal(records[step].losses["alignment"], alignment.detach())
    for mine, other in ((state.denoiser, plain.denoiser), (state.alignment, plain.alignment)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))


def test_open_learned_pairs_each_image_with_its_targets(small_diffusion, sources):
    run = replace(small_diffusion, source=sources["pixels"], alignment=CHOICE)
    data, encoder = open_learned(run, CPU), open_vision("gradients:8")
    for batch in data.batches(0, 1, 0, 2):
        assert torch.equal(batch.targets, encoder(batch.data).field)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "precision"), [("cached", "fp32"), ("encoded", "bf16")])
def test_train_diffusion_resumes_alignment_bit_for_bit(small_diffusion, sources, kind, precision):
    run = replace(small_diffusion, source=sources[kind], alignment=CHOICE, accumulation=2, precision=precision)
    data = open_learned(run, CPU)

    def continued(state, n):
        records = train_diffusion(run, state, data.batches(0, 1, state.step, 4), Accelerator())
        return [{k: float(v) for k, v in record.losses.items()} for record in islice(records, n)]

    whole, half, resumed = (built(replace(run, seed=seed), data) for seed in (0, 0, 9))
    losses = continued(whole, 4)
    first = continued(half, 2)
    resumed.load_state_dict(copy.deepcopy(half.state_dict()))
    assert first + continued(resumed, 2) == losses
    for part in ("denoiser", "alignment"):
        one, other = whole.state_dict()[part], resumed.state_dict()[part]
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_build_diffusion_state_without_alignment_holds_none(small_diffusion, sources):
    run = replace(small_diffusion, source=sources["cached"], alignment=replace(CHOICE, weight=0.0))
    data = open_learned(run, CPU)
    assert data.target_shape is None
    assert next(data.batches(0, 1, 0, 1)).targets is None
    assert data.digest == open_learned(replace(run, alignment=diffusion_config.AlignmentChoice()), CPU).digest
    state = build_diffusion_state(run, data.shape, 2, CPU)
    assert "alignment" not in state.state_dict()
    assert set(next(train_diffusion(run, state, data.batches(0, 1, 0, 1), Accelerator())).losses) == {"loss"}


def test_run_diffusion_resumes_alignment_and_exports_the_denoiser_alone(aligned, tmp_path):
    whole = run_diffusion(replace(aligned, out=str(tmp_path / "whole")))
    run_diffusion(replace(aligned, steps=2))
    export = run_diffusion(aligned)
    weights = "diffusion_pytorch_model.safetensors"
    assert (export / weights).read_bytes() == (whole / weights).read_bytes()
    assert not [name for name, _ in open_model(export, CPU).denoiser.named_parameters() if "project" in name]
    plain = replace(aligned, alignment=diffusion_config.AlignmentChoice(), out=str(tmp_path / "plain"))
    assert (run_diffusion(plain) / weights).read_bytes() != (whole / weights).read_bytes()


def test_run_diffusion_takes_moved_targets_but_no_others(aligned, cached, tmp_path):
    run_diffusion(replace(aligned, steps=2))
    moved = Path(shutil.copytree(cached / "targets", tmp_path / "moved"))
    run_diffusion(replace(aligned, steps=3, alignment=replace(CHOICE, targets=str(moved))))
    cache_latents("vision:gradients:8", beside=cached, out=tmp_path / "other", dtype="float16")
    with pytest.raises(ValueError, match="was started on other data"):
        run_diffusion(replace(aligned, alignment=replace(CHOICE, targets=str(tmp_path / "other"))))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("cached", {"tap": 3}, "alignment.tap is 3, and SiT-micro/4 has blocks 1 to 2"),
        ("cached", {"tap": 0}, "alignment.tap is 0"),
        ("cached", {"targets": "/no/such"}, "no alignment targets in /no/such: cache them by `specmatch cache vision:"),
        ("cached", {"encoder": "gradients:4"}, "the cached targets are of gradients:8, and alignment.encoder is"),
        ("cached", {"size": 16}, "alignment.size has no effect on cached targets"),
        ("cached", {"filter": "none"}, "alignment.std is 'empirical', which only alignment.filter normalise or dog"),
        ("cached", {"inner": 2.0}, "0 <= inner < outer"),
        ("cached", {"hidden": 0}, "alignment.hidden is 0: must be greater than 0"),
        ("cached", {"weight": -1.0}, "alignment.weight is -1.0: must be greater than or equal to 0"),
        ("cached", {"weight": 0.0}, "alignment.weight is 0, so that nothing else of alignment would be used"),
        ("pixels", {"encoder": None}, "alignment.encoder is required when alignment.weight > 0"),
        ("pixels", {"targets": "somewhere"}, "alignment.targets is of cached latents"),
        ("encoded", {"encoder": "gradients:5"}, "5"),
        ("pixels", {"encoder": "/no/such"}, "/no/such is not a folder"),
        ("pixels", {"encoder": "gradients:5"}, "5"),
    ],
)
def test_train_diffusion_command_refuses_alignments_before_writing(
    aligned, sources, tmp_path, capfd, kind, change, said
):
    run = replace(aligned, source=sources[kind], alignment=replace(CHOICE, **change))
    (tmp_path / "asked.yaml").write_text(to_yaml(run))
    with pytest.raises(SystemExit) as end:
        main(["train-diffusion", "--config", str(tmp_path / "asked.yaml")])
    err = capfd.readouterr().err
    *opened, line = err.splitlines()
    assert (end.value.code, said in line) == (2, True)
    assert opened in ([], [f"{run.source.images}: 2 classes, 16 images"])
    assert not Path(run.out).exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "gradients:8"}, "--beside and --encoder-size apply only to vision:ENCODER, not to gradients:8"),
        ({"size": 16}, "is encoded already"),
        ({"source": "vision:gradients:5"}, "5"),
        ({"beside": None}, "name the folder of the cache by --out"),
        ({"beside": None, "out": "somewhere"}, "name them by --data"),
        ({"source": "vision:/no/such"}, "/no/such is not a folder"),
    ],
)
def test_cache_latents_refuses_targets_it_cannot_cache(cached, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    asked = {"source": "vision:gradients:8", "beside": cached} | options
    with pytest.raises(ValueError, match=said):
        cache_latents(asked.pop("source"), **asked)
    assert not list(tmp_path.iterdir())


def test_open_learned_refuses_targets_of_other_images(aligned, cached, class_folder, tmp_path):
    other = cache_latents(
        "vision:gradients:8", data=str(class_folder / "cat"), size=32, flips=True, out=tmp_path / "other"
    )
    with pytest.raises(ValueError, match="holds targets of other images"):
        open_learned(replace(aligned, alignment=replace(CHOICE, targets=str(other))), CPU)
    plain = cache_latents("vision:gradients:8", data=str(class_folder), size=32, out=tmp_path / "plain")
    with pytest.raises(ValueError, match="holds no targets of mirrored images"):
        open_learned(replace(aligned, alignment=replace(CHOICE, targets=str(plain))), CPU)


def test_open_learned_names_a_remedy_for_targets_without_flips(aligned, cached, class_folder, tmp_path):
    folder = Path(shutil.copytree(cached, tmp_path / "latents"))
    shutil.rmtree(folder / "targets")
    plain = cache_latents("vision:gradients:8", data=str(class_folder), size=32, out=folder / "targets")
    with pytest.raises(ValueError, match=f"{plain} holds no targets of mirrored images: .* --out ANOTHER"):
        open_training_targets(None, open_latents(folder), flip=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gamma": 0.3}, "alignment.gamma is 0.3, which only alignment.filter normalise uses"),
        ({"filter": "normalise"}, "alignment.inner is 0.0, which only alignment.filter dog uses"),
        ({"inner": 3.0}, "expected 0 <= inner < outer < inf tokens"),
    ],
)
def test_run_diffusion_refuses_options_that_no_filter_uses(aligned, change, said):
    with pytest.raises(ValueError, match=said):
        run_diffusion(replace(aligned, alignment=replace(CHOICE, **change)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cached", "pixels"])
def test_train_diffusion_compiles_with_alignment(small_diffusion, sources, kind, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="aot_eager"))
    run = replace(small_diffusion, source=sources[kind], alignment=CHOICE, steps=2)
    data = open_learned(run, CPU)
    plain, compiled = (
        [*train_diffusion(own, built(own, data), data.batches(0, 1, 0, 2), Accelerator())]
        for own in (run, replace(run, compile=True))
    )
    for one, other in zip(plain, compiled, strict=True):
        for name, value in one.losses.items():
            torch.testing.assert_close(other.losses[name], value, rtol=1e-4, atol=0)


def test_open_learned_tells_targets_from_latents(aligned, cached, class_folder, small_autoencoder, tmp_path):
    run = replace(aligned, source=diffusion_config.Source(latents=str(cached / "targets")))
    with pytest.raises(ValueError, match="holds alignment targets, not latents"):
        open_learned(run, CPU)
    with pytest.raises(ValueError, match="holds alignment targets, not latents"):
        open_cached(f"latents:{cached / 'targets'}", None, None)
    with pytest.raises(ValueError, match="holds alignment targets, not latents"):
        cache_latents("vision:gradients:8", beside=cached / "targets")
    choice = replace(CHOICE, encoder=None, targets=str(cached))
    with pytest.raises(ValueError, match="holds latents, not alignment targets"):
        open_learned(replace(aligned, alignment=choice), CPU)


def test_cache_latents_refuses_targets_of_another_size(cached, save_dinov2, tmp_path):
    folder = save_dinov2(tmp_path / "encoder")
    first = cache_latents(f"vision:{folder}", beside=cached, out=tmp_path / "targets", encoder_size=28)
    with pytest.raises(ValueError, match="holds another cache: grid is"):
        cache_latents(f"vision:{folder}", beside=cached, out=first, encoder_size=56)


def test_canonical_gives_an_encoder_one_name(aligned, cached, save_dinov2, tmp_path, monkeypatch):
    folder = save_dinov2(tmp_path / "encoder")
    (tmp_path / "link").symlink_to(folder)
    out = cache_latents(f"vision:{tmp_path / 'link'}", beside=cached, out=tmp_path / "targets", encoder_size=28)
    monkeypatch.chdir(tmp_path)
    for name in ("encoder", str(folder), "link/../encoder"):
        run = replace(aligned, alignment=replace(CHOICE, encoder=name, targets=str(out)))
        assert open_learned(run, CPU).target_shape[1:] == (2, 2)
    assert canonical("gradients") == canonical("gradients:8")


def test_open_training_targets_needs_latents_with_known_images(cached, tmp_path):
    latents = open_latents(cached)
    latents.info = replace(latents.info, fingerprint=None)
    with pytest.raises(ValueError, match="does not say of which images it is"):
        open_training_targets(None, latents, flip=False)


def test_cache_latents_writes_large_targets_in_small_shards(cached, save_dinov2, tmp_path, monkeypatch):
    from spectrum_matching.latents import encode as module

    monkeypatch.setattr(module, "TARGET_SHARD", 36 * 4 * 4 * 2 * 2 * 5)  # five images of two bytes a value, with flips
    out = cache_latents("vision:gradients:8", beside=cached, out=tmp_path / "targets")
    assert len(list(out.glob("latents-*.safetensors"))) == 4


def test_cache_latents_refuses_targets_of_changed_images(class_folder, small_autoencoder, tmp_path):
    images = Path(shutil.copytree(class_folder, tmp_path / "images"))
    latents = cache_latents(str(small_autoencoder), data=str(images), split="all", size=32, out=tmp_path / "latents")
    shutil.rmtree(images / "cat")
    with pytest.raises(ValueError, match="have changed since"):
        cache_latents("vision:gradients:8", beside=latents)
    shutil.rmtree(images)
    with pytest.raises(ValueError, match="or these are gone"):
        cache_latents("vision:gradients:8", beside=latents)
