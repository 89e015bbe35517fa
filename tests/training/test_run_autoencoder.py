import importlib.util
import json
import os
import re
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from runs import EVERYTHING, asked, checkpointed, files, logged, wait_for
from spectrum_matching.cli.cache import cache_latents
from spectrum_matching.cli.main import main
from spectrum_matching.data.images import open_images
from spectrum_matching.files.signals import Stopped
from spectrum_matching.files.yaml_files import override, read_mapping
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.statistics import measure_latent_space
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.training_data import TRAINING, TrainingData, training_data
from spectrum_matching.training import autoencoder_config
from spectrum_matching.training.checks import check_size
from spectrum_matching.training.diffusion_config import DiffusionRun, Source
from spectrum_matching.training.diffusion_data import open_learned
from spectrum_matching.training.run_autoencoder import run_autoencoder
from spectrum_matching.training.run_directory import load_checkpoint
from spectrum_matching.training.trackers import wandb_id
from spectrum_matching.training.train_autoencoder import build_state, open_autoencoder

COMMAND = "train-ae"


def test_run_autoencoder_writes_its_directory(small_run, command):
    run = replace(small_run, intervals=replace(small_run.intervals, preview=3))
    status, out, err = command(run)
    directory = Path(run.out)
    assert (status, out) == (0, f"{directory / 'export'}\n")
    assert "images to train on" in err
    assert f"{run.name}: 4 of 4 in " in err
    assert override(autoencoder_config.AutoencoderRun(), read_mapping(directory / "run.yaml"), "run.yaml") == run
    assert [line["step"] for line in logged(run)] == [1, 2, 3, 4]
    assert checkpointed(run) == ["0000003", "0000004"]
    made = {path.name for path in directory.iterdir()}
    assert made == {"checkpoints", "data.json", "export", "log.jsonl", "metrics.json", "run.yaml", "samples"}
    held_out = len(open_images(run.data.path, 32, split="held_out", held_out=0.2, seed=run.seed))
    assert sorted(path.name for path in (directory / "samples").iterdir()) == ["0000003.png", "0000004.png"]
    assert Image.open(directory / "samples" / "0000004.png").size == (32 * min(held_out, 8), 2 * 32)
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["held_out"]["n_images"] == metrics["held_out"]["n_total"] == held_out
    assert 0 < metrics["held_out"]["psnr"] < 40
    assert 0 < metrics["held_out"]["ssim"] < 1
    assert (metrics["step"], metrics["images"], metrics["skipped_steps"]) == (4, 8, 0)


@pytest.mark.slow
@pytest.mark.parametrize("sample", [True, False])
def test_run_autoencoder_exports_averaged_weights_with_the_measured_scale(small_run, sample):
    run = replace(small_run, sample_posterior=sample, **EVERYTHING)
    exported = AutoencoderKL.from_pretrained(run_autoencoder(run))
    state = build_state(run, open_autoencoder(run), run.method.build(), torch.device("cpu"))
    load_checkpoint(state, Path(run.out) / "checkpoints" / "0000004")
    assert state.step == 4
    averages = zip(exported.parameters(), state.ema.shadow_params, strict=True)
    assert all(torch.equal(theirs, ours) for theirs, ours in averages)
    assert not torch.equal(exported.decoder.conv_out.weight, state.autoencoder.layers.decoder_output)

    training = open_images(run.data.path, 32, held_out=0.2, seed=run.seed, crop="random", flip=True)
    space = measure_latent_space(Autoencoder(exported), training, torch.device("cpu"), seed=run.seed)
    assert exported.config.scaling_factor == pytest.approx(1 / space.std[0], rel=1e-12)

    origin = TRAINING.read(Path(run.out) / "export" / "specmatch.json")
    assert (origin.run, origin.step) == (run.name, 4)
    esm = {"esm_weight": 0.01, "delta": 1.0, "bins": 16, "variant": "scale_free"}
    assert origin.method == {"name": "esm_dsm", "block": 4, "keep": [7, 3], **esm}
    assert origin.data == TrainingData(run.data.path, held_out=0.2, seed=0, size=32)
    assert training_data(str(Path(run.out) / "export")) == origin.data


@pytest.mark.slow
def test_export_cache_and_open_learned_agree_on_the_scale_of_latents(small_run, tmp_path):
    run = replace(small_run, **EVERYTHING)
    export = run_autoencoder(run)
    cached = open_latents(str(cache_latents(str(export), out=tmp_path / "latents", dtype="float32")))
    source = Source(images=run.data.path, autoencoder=str(export), size=32, held_out=run.data.held_out)
    read = open_learned(DiffusionRun(seed=run.seed, batch_size=1, source=source), torch.device("cpu"))
    exported = Autoencoder.from_pretrained(export).latent_space
    assert len(cached) == read.n
    for space in (cached.space("global"), read.latent_space):
        assert space.std == pytest.approx(exported.std, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [EVERYTHING["method"], autoencoder_config.MethodChoice("va_vae", encoder="gradients:4")]
)
def test_run_autoencoder_resumes_to_the_same_export(small_run, tmp_path, method):
    run = replace(small_run, **EVERYTHING | {"method": method})
    whole = files(run_autoencoder(replace(run, out=str(tmp_path / "whole"))))
    run_autoencoder(replace(run, steps=2))
    assert [line["step"] for line in logged(run)] == [1, 2]
    export = run_autoencoder(run)
    assert files(export) == whole
    assert logged(run) == logged(replace(run, out=str(tmp_path / "whole")))
    run_autoencoder(run)  # there is nothing left to do
    assert files(export) == whole
    assert [line["step"] for line in logged(run)] == [1, 2, 3, 4]


@pytest.mark.slow
def test_run_autoencoder_of_several_shapes_resumes_at_any_step(small_run, mixed_folder, tmp_path):
    data = replace(small_run.data, path=str(mixed_folder), aspect_ratios=(1.0, 1.5))
    run = replace(small_run, **EVERYTHING | {"data": data, "steps": 7, "batch_size": 2})
    run = replace(run, method=replace(run.method, block=2, keep=(3, 2)))
    whole = files(run_autoencoder(replace(run, out=str(tmp_path / "whole"))))
    for steps in (1, 2, 4, 5, 7):
        export = run_autoencoder(replace(run, steps=steps))
    assert files(export) == whole
    assert logged(run) == logged(replace(run, out=str(tmp_path / "whole")))


BSDS500 = Path(__file__).parents[2].parent / "shared" / "data" / "bsds500" / "train"


@pytest.mark.slow
@pytest.mark.skipif(not BSDS500.is_dir(), reason="needs BSDS500")
def test_train_ae_trains_on_photographs_of_their_own_shapes(small_run, command, monkeypatch):
    shapes, encode = [], Autoencoder.encode

    def watched(self, images):
        shapes.append(tuple(images.shape))
        return encode(self, images)

    monkeypatch.setattr(Autoencoder, "encode", watched)
    data = replace(small_run.data, path=str(BSDS500), size=64, aspect_ratios=(1.0, 1.5))
    method = autoencoder_config.MethodChoice("esm_dsm", block=4, keep=(7, 3))
    run = replace(small_run, steps=6, batch_size=4, data=data, method=method)
    status, _, err = command(run)
    assert status == 0
    assert re.search(r"\d+ images of 80 x 48; \d+ images of 48 x 80\n", err)  # and none is a square
    assert {shape for shape in shapes if shape[0] == 4} == {(4, 3, 48, 80), (4, 3, 80, 48)}
    assert shapes[-1][2:] == (64, 64)  # measured on squares
    assert "about 64 × 64 pixels in aspect ratios 1, 1.5" in (Path(run.out) / "export" / "README.md").read_text()


@pytest.mark.slow
def test_train_ae_repeats_a_run_from_its_run_yaml(small_run, tmp_path, capfd):
    run = replace(small_run, method=autoencoder_config.MethodChoice("dsm", keep=(3, 2), block=4), precision="bf16")
    first = files(run_autoencoder(run))
    again = str(tmp_path / "again")
    main(["train-ae", "--config", str(Path(run.out) / "run.yaml"), "--out", again])
    assert capfd.readouterr().out == f"{again}/export\n"
    assert files(Path(again) / "export") == first
    assert logged(replace(run, out=again)) == logged(run)


@pytest.mark.slow
def test_run_autoencoder_is_independent_of_workers(small_run, tmp_path):
    one = files(run_autoencoder(small_run))
    data = replace(small_run.data, workers=2)
    assert files(run_autoencoder(replace(small_run, out=str(tmp_path / "two"), data=data))) == one


@pytest.mark.slow
def test_require_same_run_names_the_keys_that_differ(small_run, command):
    assert command(small_run)[0] == 0
    before = files(Path(small_run.out))
    for changed, said in (
        (("--seed", 1), "seed (0 there, 1 now)"),
        (("--method.name", "esm"), "method.name ('autoencoder' there, 'esm' now)"),
        (("--data.size", 64), "data.size (32 there, 64 now)"),
    ):
        status, _, err = command(small_run, *changed)
        assert status == 2
        assert said in err
        assert err.count("\n") == 1
    status, _, err = command(small_run, "--steps", 3)
    assert status == 2
    assert "is at step 4 already" in err
    assert files(Path(small_run.out)) == before
    free = (
        "--steps",
        6,
        "--intervals.checkpoint",
        5,
        "--intervals.log",
        3,
        "--optimizer.lr",
        1e-4,
        "--precision",
        "bf16",
    )
    assert command(small_run, *free)[0] == 0
    assert [line["step"] for line in logged(small_run)] == [1, 2, 3, 4, 6]


PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data.size", 34), "data.size is 34, expected a multiple of the autoencoder's factor 4"),
        (("--data.size", 8), "data.size is 8, expected at least 11"),
        (("--method.name", "dsm", "--data.size", 36), "a 9 x 9 latent grid does not divide into blocks of 8"),
        (("--method.name", "dsm", "--method.delta", 1), "method dsm has no option delta"),
        (("--batch-size", 5, "--accumulation", 2), "batch_size is 5, expected a multiple of accumulation (2)"),
        (("--losses.perceptual", 1), "losses.perceptual needs losses.perceptual_weights"),
        (("--losses.l1", 0), "losses.l1, losses.l2 and losses.perceptual are all 0"),
        (("--data.path", "/no/such"), "no such file or folder: /no/such"),
        (("--data.held-out", 0), "data.held_out is 0.0: must be greater than 0"),
        (("--network.preset", "f5"), "no preset 'f5'"),
        (("--network.pretrained", "/no/such"), "/no/such is not a folder"),
        (("--data.aspect-ratios", 0.5), "data.aspect_ratios.0 is 0.5: must be greater than or equal to 1"),
        (
            ("--data.aspect-ratios", 1.5, "--method.name", "va_vae"),
            "method va_vae has a vision encoder, which takes squares: leave data.aspect_ratios at 1",
        ),
        (
            ("--data.aspect-ratios", 1, 1.5, "--method.name", "esm", "--method.variant", "paper"),
            "method.variant paper counts rings by index",
        ),
        (("--discriminator.weight", 1), "the discriminator needs images of 24 pixels and method eq_vae"),
        (("--trackers", "wandb"), "trackers: wandb is not installed"),
        (("--tracking.project", "mine"), "tracking is given, and no tracker that would use it"),
        (("--trackers", "tensorboard", "--tracking.entity", "me"), "tracking.entity and tracking.name are of wandb"),
        (("--trackers", "tensorboard", "--tracking.project", "a/b"), "tracking.project is 'a/b'"),
        (("--optimizer.lr", -1), "optimizer.lr is -1.0: must be greater than or equal to 0"),
        (("--optimizer.ema", 1), "optimizer.ema is 1.0: must be less than 1"),
        (("--optimizer.betas", 0.9, 1.5), "optimizer.betas.1 is 1.5: must be less than 1"),
        (("--steps", 0), "steps is 0: must be greater than 0"),
        (("--intervals.keep-last", 0), "intervals.keep_last is 0: must be greater than 0"),
        (("--intervals.log", -1), "intervals.log is -1: must be greater than or equal to 0"),
    ],
)
@pytest.mark.filterwarnings("error:`log_with:UserWarning")  # would be a second line
def test_train_ae_refuses_in_one_line_before_writing(small_run, command, arguments, said):
    if "wandb" in arguments and importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    if "--discriminator.weight" in arguments:
        small_run = replace(small_run, method=autoencoder_config.MethodChoice("eq_vae"))
    status, out, err = command(small_run, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("specmatch train-ae: ")
    assert said in err
    assert err.count("\n") == 1
    assert not Path(small_run.out).exists()


def test_require_same_run_refuses_an_out_that_is_no_folder(small_run, command, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        status, _, err = command(replace(small_run, out=str(out)))
        assert (status, err.count("\n")) == (2, 1)
        assert f"{out}" in err
    status, _, err = command(replace(small_run, out="/proc/none/run"))  # even root cannot write there
    assert status == 2
    assert err.splitlines()[-1].startswith("specmatch train-ae: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_check_size_counts_images_that_transforms_shrink(small_run, command):
    for depth, status in ((2, 2), (1, 0)):
        discriminator = autoencoder_config.DiscriminatorChoice(weight=0.5, width=4, depth=depth)
        run = replace(small_run, method=autoencoder_config.MethodChoice("eq_vae"), discriminator=discriminator, steps=1)
        assert command(run)[0] == status


@pytest.mark.parametrize(
    ("method", "size", "fits"),
    [
        *(("autoencoder", 12, False), ("autoencoder", 16, True)),
        *(("scale_equivariance", 32, False), ("scale_equivariance", 64, True)),
        *(("eq_vae", 32, False), ("eq_vae", 64, True)),
    ],
)
def test_check_size_counts_what_lpips_needs(small_run, method, size, fits):
    losses = autoencoder_config.Losses(perceptual=1.0, perceptual_weights="unopened")
    run = replace(small_run, losses=losses, data=replace(small_run.data, size=size))
    run = replace(run, method=autoencoder_config.MethodChoice(method))
    state = build_state(run, open_autoencoder(run), run.method.build(), torch.device("cpu"))
    with nullcontext() if fits else pytest.raises(ValueError, match=r"losses\.perceptual needs images of 16 pixels"):
        check_size(run, state)


@pytest.fixture
def folder_with_bad_files(image_folder, tmp_path):
    """The image folder, with one JPEG cut short, named like markup, and one text file."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in image_folder.iterdir():
        (folder / path.name).symlink_to(path)
    Image.fromarray(PIXELS).save(folder / "cut [red].jpg", quality=95)
    whole = (folder / "cut [red].jpg").read_bytes()
    (folder / "cut [red].jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.slow
def test_report_bad_files_reports_each_once(small_run, command, folder_with_bad_files):
    data = replace(small_run.data, path=str(folder_with_bad_files), size=16, held_out=0.1)
    run = replace(small_run, steps=13, data=data)  # 25 images: each at least once
    names = open_images(data.path, 16, held_out=0.1, seed=run.seed).names
    assert "cut [red].jpg" in names
    status, _, err = command(run)
    assert status == 0
    assert err.count("left aside: 1 other file (notes.txt)") == 1
    assert err.count("cut [red].jpg: truncated") == 1
    assert command(replace(run, steps=26))[0] == 0
    lines = (Path(run.out) / "bad_files.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["cut [red].jpg"]
    assert all(line["l1"] < 2 for line in logged(run))


def test_train_ae_refuses_bad_files_on_request(small_run, command, folder_with_bad_files):
    status, out, err = command(small_run, "--data.path", folder_with_bad_files, "--data.on-bad", "refuse")
    assert (status, out) == (2, "")
    opened, line = err.splitlines()
    assert opened.endswith("25 images; left aside: 1 other file (notes.txt)")
    assert "1 of 25 images are bad" in line
    assert "cut [red].jpg" in line
    assert not Path(small_run.out).exists()


def test_train_ae_reports_divergence(small_run, command):
    run = replace(small_run, max_bad_steps=2, optimizer=autoencoder_config.Optimizer(lr=1e30, warmup=0, clip=0.0))
    status, out, err = command(run)
    assert (status, out) == (2, "")
    assert "2 steps in a row were not finite (l1)" in err.splitlines()[-1]
    assert [line["step"] for line in logged(run) if line["skipped"]]


def test_run_autoencoder_writes_tensorboard_events(small_run):
    tracking = autoencoder_config.Tracking(project="mine")
    run = replace(small_run, trackers=("tensorboard",), tracking=tracking, steps=2)
    run_autoencoder(run)
    assert list((Path(run.out) / "mine").rglob("events.out.tfevents.*"))
    assert not (Path(run.out) / "spectrum-matching").exists()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_run_autoencoder_names_its_wandb_run(small_run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = replace(
        small_run, trackers=("wandb",), tracking=autoencoder_config.Tracking("mine", "team", "first"), steps=2
    )
    run_autoencoder(run)
    (written,) = (Path(run.out) / "wandb").glob("offline-run-*/*.wandb")
    assert all(word in written.read_bytes() for word in (b"mine", b"team", b"first"))
    run_autoencoder(replace(run, steps=3))  # goes on in the same run
    ids = {path.stem.removeprefix("run-") for path in (Path(run.out) / "wandb").glob("offline-run-*/*.wandb")}
    assert ids == {wandb_id(Path(run.out))}


@pytest.mark.slow
def test_run_autoencoder_of_the_decoder_exports_the_same_encoder(small_run, tmp_path):
    theirs = run_autoencoder(replace(small_run, out=str(tmp_path / "theirs"), steps=1))
    ours = run_autoencoder(
        replace(small_run, network=autoencoder_config.Network(pretrained=str(theirs), train="decoder"))
    )
    before, after = (AutoencoderKL.from_pretrained(folder).state_dict() for folder in (theirs, ours))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}


@pytest.mark.slow
def test_run_autoencoder_resumes_after_kills_to_the_same_export(small_run, forked, tmp_path):
    run = replace(small_run, steps=7, **EVERYTHING)
    whole = replace(run, out=str(tmp_path / "whole"))
    alone = forked(asked(whole, tmp_path, "whole"))
    directory, folder = Path(run.out), Path(run.out) / "checkpoints"
    for moment in (
        "run.yaml",
        "checkpoints/.0000001.written.*",  # while it writes a checkpoint
        "checkpoints/.0000003.written.*/state.pt",
        "checkpoints/0000004",
        "checkpoints/.0000003.removed.*",
        ".export.written.*",
    ):
        process = forked(asked(run, tmp_path))
        wait_for(lambda moment=moment: any(directory.glob(moment)), process)
        process.kill()
        process.join()
        assert all((path / "state.pt").exists() for path in folder.glob("[0-9]*"))
    last = forked(asked(run, tmp_path))
    last.join()
    alone.join()
    assert (alone.exitcode, last.exitcode) == (0, 0)
    assert files(directory / "export") == files(Path(whole.out) / "export")
    assert logged(run) == logged(whole)
    assert [line["step"] for line in logged(run)] == list(range(1, 8))
    assert checkpointed(run) == ["0000006", "0000007"]
    assert not list(directory.rglob(".*"))  # what the killed runs left


def test_from_pretrained_refuses_a_run_that_is_continued(small_run):
    export = run_autoencoder(replace(small_run, steps=1))
    longer = replace(small_run, steps=10_000)
    with pytest.raises(Stopped):
        run_autoencoder(longer, lambda step, total: os.kill(os.getpid(), signal.SIGTERM) if step == 2 else None)
    for opened in (Autoencoder.from_pretrained, training_data):
        with pytest.raises(ValueError, match=r"run.yaml says 10000 steps, the export is of step 1; rerun the same"):
            opened(longer.out)
        assert opened(export) is not None
    run_autoencoder(replace(longer, steps=3))
    assert TRAINING.read(export / "specmatch.json").step == 3
    assert training_data(longer.out) == training_data(str(export))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 2), (signal.SIGUSR1, 2)])
def test_train_ae_stops_at_a_signal_and_resumes(small_run, forked, tmp_path, number, workers):
    run = replace(
        small_run,
        steps=10_000,
        data=replace(small_run.data, workers=workers),
        intervals=autoencoder_config.Intervals(log=1, preview=0, checkpoint=10_000),
    )
    file = asked(run, tmp_path)
    process = forked(file)
    log = Path(run.out) / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 2, process)
    os.killpg(process.pid, number)  # as a terminal or a scheduler does: the workers get it too
    process.join(40)
    steps = [line["step"] for line in logged(run)]
    said = file.with_suffix(".err").read_text()
    assert (process.exitcode, file.with_suffix(".out").read_text()) == (128 + number, "")
    assert said.splitlines()[-1] == f"specmatch train-ae: stopped at step {steps[-1]}; rerun the same command to resume"
    assert "Traceback" not in said
    assert checkpointed(run) == [f"{steps[-1]:07d}"]
    run_autoencoder(replace(run, steps=steps[-1] + 1))
    assert [line["step"] for line in logged(run)] == [*steps, steps[-1] + 1]


@pytest.mark.slow
def test_save_checkpoint_survives_a_failed_write(small_run, forked, tmp_path):
    run = replace(small_run, steps=2)
    forked(asked(run, tmp_path)).join()
    before = files(Path(run.out) / "checkpoints")
    limit = len(before["0000002/state.pt"]) // 2
    file = asked(replace(run, steps=4), tmp_path)
    failed = forked(file, limit)
    failed.join()
    said = file.with_suffix(".err").read_text()
    assert (failed.exitcode, file.with_suffix(".out").read_text()) == (2, "")
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("specmatch train-ae: cannot write the checkpoint of step 3 under ")
    assert said.splitlines()[-1].endswith(", then rerun the same command to resume")
    assert files(Path(run.out) / "checkpoints") == before
    whole = replace(run, steps=4, out=str(tmp_path / "whole"))
    for process in (forked(file), forked(asked(whole, tmp_path, "whole"))):
        process.join()
    assert files(Path(run.out) / "export") == files(Path(whole.out) / "export")


@pytest.mark.slow
def test_load_checkpoint_names_an_unreadable_checkpoint(small_run, command):
    assert command(replace(small_run, steps=2))[0] == 0
    path = Path(small_run.out) / "checkpoints" / "0000002"
    (path / "state.pt").write_bytes((path / "state.pt").read_bytes()[:1000])
    status, _, err = command(small_run)
    assert (status, err.count("\n")) == (2, 2)  # what was opened, then the error
    assert f"{path}/state.pt is damaged: its SHA-256 is not that of SHA256SUMS; delete {path} to resume" in err
    shutil.rmtree(path)
    assert command(small_run)[0] == 0
    assert [line["step"] for line in logged(small_run)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("replace", "training images: 20, as before, the first difference at "),
        ("remove", "training images: 20 there, 19 now, the first difference at "),
        ("add", "training images: 20 there, 21 now"),
        ("replace held out", "held-out images: 4, as before, the first difference at "),
    ],
)
def test_run_autoencoder_is_not_resumed_on_other_images(small_run, command, image_folder, tmp_path, change, said):
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    run = replace(small_run, data=replace(small_run.data, path=str(folder)), steps=1)
    assert command(run)[0] == 0
    split = "held_out" if change == "replace held out" else "train"
    name = open_images(str(folder), 32, split=split, held_out=0.2, seed=run.seed).names[-2]
    if change == "remove":
        (folder / name).unlink()
    elif change == "add":
        shutil.copy(folder / name, (folder / name).with_name("zzz1.png"))
    else:
        Image.effect_noise((48, 48), 50).convert("RGB").save(folder / name)
    before = files(Path(run.out))
    status, _, err = command(run, "--steps", 2)
    assert (status, err.count("\n")) == (2, 2)  # what was opened, then the error
    assert f"{run.out} was started on other data: {said}" in err
    assert err.endswith("; restore the data, or choose another out\n")
    assert files(Path(run.out)) == before


def test_run_autoencoder_is_resumed_on_copied_images(small_run, command, image_folder, tmp_path):
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    run = replace(small_run, data=replace(small_run.data, path=str(folder)), steps=1)
    assert command(run)[0] == 0
    for path in folder.rglob("*.png"):
        os.utime(path, (1, 1))
    for steps, n_warnings in ((2, 1), (3, 0)):
        status, _, err = command(run, "--steps", steps)
        assert (status, err.count("the training images of")) == (0, n_warnings)


def test_run_autoencoder_is_not_resumed_from_another_pretrained_network(small_run, command, tmp_path):
    network = autoencoder_config.Network(pretrained=str(tmp_path / "given"))
    run = replace(small_run, network=network, steps=1)
    for seed, steps, said in ((1, 1, None), (1, 2, None), (2, 3, "another pretrained network; restore the data")):
        Autoencoder.from_preset("tiny", seed).save_pretrained(tmp_path / "given")
        status, _, err = command(run, "--steps", steps)
        assert (status, said or "") == (2 if said else 0, said if said and said in err else ""), err


def test_train_ae_exports_nothing_where_no_step_was_finite(small_run, command, tmp_path):
    autoencoder = Autoencoder.from_preset("tiny")
    torch.nn.init.constant_(autoencoder.layers.decoder_output, 1e17)  # squared errors are finite, their gradient is not
    autoencoder.save_pretrained(tmp_path / "far")
    run = replace(
        small_run,
        network=autoencoder_config.Network(pretrained=str(tmp_path / "far")),
        losses=autoencoder_config.Losses(l1=0.0, l2=1.0),
    )
    status, out, err = command(run)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(
        "specmatch train-ae: none of 4 steps was finite, so that nothing was learned"
    )
    assert [line["skipped"] for line in logged(run)] == [True] * 4
    assert not (Path(run.out) / "export").exists()
