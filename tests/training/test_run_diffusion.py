import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from files_of_tests import write_labelled
from runs import asked, checkpointed, files, logged, wait_for
from spectrum_matching.cli.cache import cache_latents
from spectrum_matching.cli.main import main
from spectrum_matching.data.images import open_images
from spectrum_matching.files.digests import digest_weights
from spectrum_matching.files.manifest import write_manifest
from spectrum_matching.files.signals import Stopped
from spectrum_matching.files.yaml_files import override, read_mapping
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.shards import DOCUMENT
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.sampling.model import open_model, read_card
from spectrum_matching.training import autoencoder_config, diffusion_config
from spectrum_matching.training.run_diffusion import run_diffusion
from spectrum_matching.training.run_directory import load_checkpoint
from spectrum_matching.training.train_diffusion import build_diffusion_state

COMMAND = "train-diffusion"
CPU = torch.device("cpu")


@pytest.fixture
def imported(specmatch, tmp_path):
    """Labels → a cache of latents that another tool wrote, 8 x 8 x 8, one of each label in turn."""

    def made(*labels):
        (tmp_path / "foreign").mkdir()
        latents = torch.randn(len(labels), 8, 8, 8, generator=torch.Generator().manual_seed(0))
        path = tmp_path / "foreign" / "latents_rank00_shard000.safetensors"
        save_file({"latents": latents, "labels": torch.tensor(labels)}, path)
        assert specmatch("cache", f"latents:{path.parent}", "--out", tmp_path / "imported")[0] == 0
        return str(tmp_path / "imported")

    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cached", "encoded", "pixels"])
def test_run_diffusion_writes_its_directory(small_diffusion, sources, small_autoencoder, command, kind):
    intervals = replace(small_diffusion.intervals, preview=3)
    run = replace(small_diffusion, source=sources[kind], intervals=intervals)
    status, out, err = command(run)
    directory = Path(run.out)
    assert (status, out) == (0, f"{directory / 'export'}\n")
    shape = "3 x 32 x 32" if kind == "pixels" else "8 x 8 x 8"
    assert f"16 to learn from, {shape}, 2 classes\nSiT-micro/4 of " in err
    assert "warning" not in err
    assert override(diffusion_config.DiffusionRun(), read_mapping(directory / "run.yaml"), "run.yaml") == run
    assert [line["step"] for line in logged(run)] == [1, 2, 3, 4]
    assert checkpointed(run) == ["0000003", "0000004"]
    assert {path.name for path in directory.iterdir()} == {
        *("checkpoints", "data.json", "export", "log.jsonl", "metrics.json", "run.yaml", "samples")
    }
    assert Image.open(directory / "samples" / "0000004.png").size == (4 * 32, 4 * 32)
    metrics = json.loads((directory / "metrics.json").read_text())
    assert (metrics["step"], metrics["latents"], metrics["skipped_steps"]) == (4, 16, 0)

    model = open_model(run.out, CPU)
    assert metrics["weights_digest"] == model.denoiser_digest
    state = build_diffusion_state(run, model.card.shape, 2, CPU)
    load_checkpoint(state, directory / "checkpoints" / "0000004")
    averages = zip(model.denoiser.parameters(), state.ema.shadow_params, strict=True)
    assert all(torch.equal(theirs, ours) for theirs, ours in averages)
    assert not all(
        torch.equal(*both) for both in zip(model.denoiser.parameters(), state.denoiser.parameters(), strict=True)
    )
    card = model.card
    assert (card.run, card.step, card.averaged, card.classes) == ("small", 4, True, ("cat", "dog"))
    assert card.class_counts == (8, 8)
    assert card.is_pixels == (kind == "pixels")
    if kind != "pixels":
        assert card.autoencoder == str(small_autoencoder)
        assert card.autoencoder_digest == digest_weights(Autoencoder.from_pretrained(small_autoencoder))


def test_run_diffusion_records_what_encoded_its_images_also_without_previews(
    small_diffusion, sources, small_autoencoder
):
    export = run_diffusion(replace(small_diffusion, source=sources["encoded"], steps=1))
    expected = digest_weights(Autoencoder.from_pretrained(small_autoencoder))
    assert read_card(export).autoencoder_digest == expected


@pytest.mark.slow
def test_run_diffusion_resumes_to_the_same_export(small_diffusion, tmp_path):
    run = replace(small_diffusion, accumulation=2)
    whole = files(run_diffusion(replace(run, out=str(tmp_path / "whole"))))
    run_diffusion(replace(run, steps=2))
    assert [line["step"] for line in logged(run)] == [1, 2]
    export = run_diffusion(run)
    assert files(export) == whole
    assert logged(run) == logged(replace(run, out=str(tmp_path / "whole")))
    run_diffusion(run)  # there is nothing left to do
    assert files(export) == whole


@pytest.mark.slow
def test_run_diffusion_previews_the_same_noise_and_changes_nothing(small_diffusion, tmp_path):
    quiet = files(run_diffusion(replace(small_diffusion, out=str(tmp_path / "quiet"))))
    run = replace(small_diffusion, intervals=replace(small_diffusion.intervals, preview=1))
    export = run_diffusion(run)
    weights = "diffusion_pytorch_model.safetensors"
    assert (export / weights).read_bytes() == quiet[weights]
    one, other = (np.asarray(Image.open(Path(run.out) / "samples" / f"000000{i}.png")).astype(int) for i in (1, 2))
    assert 0 < abs(one - other).mean() < 4


def test_train_diffusion_repeats_a_run_from_its_run_yaml(small_diffusion, tmp_path, capfd, monkeypatch):
    first = files(run_diffusion(small_diffusion))
    monkeypatch.chdir(tmp_path)
    main(["train-diffusion", "--config", "run/run.yaml", "--out", "again"])
    assert capfd.readouterr().out == "again/export\n"
    assert files(tmp_path / "again" / "export") == first


@pytest.mark.slow
def test_require_same_run_names_the_keys_that_differ(small_diffusion, command):
    assert command(small_diffusion)[0] == 0
    before = files(Path(small_diffusion.out))
    for changed, said in (
        (("--seed", 1), "seed (0 there, 1 now)"),
        (("--denoiser.width", 64), "denoiser.width (32 there, 64 now)"),
        (("--source.statistics", "channel"), "source.statistics"),
        (("--steps", 3), "is at step 4 already"),
    ):
        status, _, err = command(small_diffusion, *changed)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
    assert files(Path(small_diffusion.out)) == before
    assert command(small_diffusion, "--steps", 6, "--preview.steps", 3, "--intervals.log", 3)[0] == 0
    assert [line["step"] for line in logged(small_diffusion)] == [1, 2, 3, 4, 6]


def test_require_same_run_fixes_the_steps_of_a_curriculum(small_diffusion, command):
    run = replace(small_diffusion, curriculum=diffusion_config.Curriculum(keep=(3,), block=4))
    assert command(run)[0] == 0
    status, _, err = command(run, "--steps", 6)
    assert (status, err.count("\n")) == (2, 1)
    assert "steps (4 there, 6 now)" in err


@pytest.mark.slow
def test_require_same_data_refuses_other_data_of_the_same_name(
    small_diffusion, sources, latent_cache, small_autoencoder, class_folder, command, tmp_path
):
    copy = Path(shutil.copytree(latent_cache, tmp_path / "latents"))
    run = replace(small_diffusion, source=diffusion_config.Source(latents=str(copy)), steps=2)
    assert command(run)[0] == 0
    shutil.rmtree(copy)
    cache_latents(str(small_autoencoder), data=str(class_folder / "cat"), split="all", size=32, out=copy)
    status, _, err = command(run, "--steps", 4)
    assert (status, err.count("\n")) == (2, 1)
    assert "was started on other data" in err

    folder = Path(shutil.copytree(small_autoencoder, tmp_path / "autoencoder"))
    run = replace(
        run, out=str(tmp_path / "encoded"), source=replace(sources["encoded"], autoencoder=str(folder)), steps=2
    )
    assert command(run)[0] == 0
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(folder)
    status, _, err = command(run, "--steps", 4)
    assert status == 2
    assert err.endswith("was started on other data: another autoencoder; restore the data, or choose another out\n")


def test_require_same_data_refuses_other_labels_of_the_same_images(small_diffusion, command, tmp_path):
    tar, labels = tmp_path / "images.tar", ["a", "b"] * 4
    source = diffusion_config.Source(images=str(tar), size=32, held_out=0.0)
    run, unlabelled = (
        replace(
            small_diffusion, source=source, steps=1, out=str(tmp_path / name), denoiser=replace(denoiser, labels=asked)
        )
        for denoiser in (small_diffusion.denoiser,)
        for name, asked in (("labelled", True), ("unlabelled", False))
    )
    write_labelled(tar, labels)
    assert [command(each)[0] for each in (run, unlabelled)] == [0, 0]
    write_labelled(tar, labels[::-1])
    status, _, err = command(run, "--steps", 2)
    assert status == 2
    assert err.endswith(
        "was started on other data: the labels, or the names of their classes, are others; restore the data, or choose "
        "another out\n"
    )
    assert command(unlabelled, "--steps", 2)[0] == 0
    write_labelled(tar, labels)
    assert command(run, "--steps", 2)[0] == 0


def test_require_same_data_refuses_latents_of_other_class_names(small_diffusion, small_autoencoder, command, tmp_path):
    folder = tmp_path / "latents"
    run = replace(small_diffusion, source=diffusion_config.Source(latents=str(folder)))
    for names, steps, expected in (("ab", 1, 0), ("ac", 2, 2)):
        write_labelled(tmp_path / "images.tar", names * 2)
        shutil.rmtree(folder, ignore_errors=True)
        cache_latents(str(small_autoencoder), data=str(tmp_path / "images.tar"), size=32, out=folder)
        status, _, err = command(run, "--steps", steps)
        assert status == expected, err
    assert "was started on other data: the labels, or the names of their classes, are others; restore" in err


def test_require_same_data_refuses_another_gain_of_the_cache(
    small_diffusion, small_autoencoder, class_folder, command, tmp_path
):
    lat, options = tmp_path / "latents", {"data": str(class_folder), "split": "all", "size": 32}
    run = replace(small_diffusion, source=diffusion_config.Source(latents=str(lat)), steps=1)
    gains = [{}, {"flatten": 2.0}, {"flatten": 1.0}]
    for before, now, said in (
        (gains[0], gains[1], "gain.flatten (None there, 2.0 now)"),
        (gains[1], gains[2], "gain.flatten (2.0 there, 1.0 now)"),
    ):
        for folder in (Path(run.out), lat):
            shutil.rmtree(folder, ignore_errors=True)
        cache_latents(str(small_autoencoder), out=lat, **options, **before)
        assert command(run)[0] == 0
        shutil.rmtree(lat)
        cache_latents(str(small_autoencoder), out=lat, **options, **now)
        status, _, err = command(run, "--steps", 2)
        assert (status, err.count("\n")) == (2, 1)
        assert f"was started on other data: {said}; restore the data" in err


def test_run_diffusion_says_which_gain_of_the_cache_it_applies(small_diffusion, latent_cache, command, tmp_path):
    flat = str(cache_latents(f"latents:{latent_cache}", out=tmp_path / "flat", dtype="float32", flatten=2.0))
    run = replace(small_diffusion, source=diffusion_config.Source(latents=flat), steps=1)
    for steps in (1, 2):
        status, _, err = command(run, "--steps", steps)
        assert status == 0
        assert "latents are flattened by 2, as" in err
    assert read_card(Path(run.out) / "export").latent_space.gain is not None


def test_require_same_data_refuses_another_declared_scale(small_diffusion, small_autoencoder, command, tmp_path):
    source = replace(small_diffusion.source, statistics="declared")
    run = replace(small_diffusion, source=source, steps=2)
    assert command(run)[0] == 0
    moved = tmp_path / "moved"
    for factor, status in ((0.9, 0), (0.5, 2)):
        Autoencoder.from_pretrained(small_autoencoder).save_pretrained(
            moved, LatentSpace("scale", (0.0,), (1 / factor,))
        )
        found, _, err = command(run, "--steps", 3, "--source.autoencoder", moved)
        assert found == status
    assert "was started on other data: latent_space.std (" in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source.latents", "/no/such"), "no such folder: /no/such"),
        (("--source.latents", "None"), "give source.latents, a folder that `specmatch cache` wrote"),
        (("--denoiser.name", "SiT-micro/3"), "is not divisible into patches of 3"),
        (("--denoiser.name", "SiT-mikro/4"), "no denoiser 'SiT-mikro/4'"),
        (("--denoiser.heads", 3), "width 32 with 3 heads"),
        (("--batch-size", 5, "--accumulation", 2), "batch_size is 5, expected a multiple of accumulation (2)"),
        (("--curriculum.keep", 3, "--curriculum.block", 3), "does not divide into blocks of 3"),
        (("--curriculum.keep", 30), "every keep must lie in 1 ... 15 for block 8"),
        (("--curriculum.share", 2), "curriculum.share is 2.0: must be less than or equal to 1"),
        (("--objective.label-dropout", 1), "objective.label_dropout is 1.0: must be less than 1"),
        (("--objective.times-std", 0), "expected a positive std"),
        (("--objective.weighting", "min_snr", "--objective.gamma", 0), "objective.gamma must be positive"),
        (("--optimizer.ema", 1), "optimizer.ema is 1.0: must be less than 1"),
        (("--steps", 0), "steps is 0: must be greater than 0"),
        (("--intervals.preview", 1, "--preview.steps", 0), "preview.steps is 0: must be greater than 0"),
        (("--intervals.preview", 1, "--preview.labels", 2), "a class from 0 to 1"),
        (("--intervals.preview", 1, "--denoiser.no-labels", "--preview.guidance", 2), "is unconditional"),
        (
            ("--intervals.preview", 1, "--objective.label-dropout", 0, "--preview.guidance", 2),
            "guidance is 2.0, but {run} learned no image without its class: train with objective.label_dropout above 0",
        ),
    ],
)
def test_train_diffusion_refuses_in_one_line_before_writing(small_diffusion, command, arguments, said):
    status, out, err = command(small_diffusion, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("specmatch train-diffusion: ")
    assert said.replace("{run}", small_diffusion.out) in err
    assert err.count("\n") == 1
    assert not Path(small_diffusion.out).exists()


def test_train_diffusion_records_whether_anything_was_learned_without_its_class(
    small_diffusion, imported, specmatch, tmp_path
):
    run = replace(small_diffusion, steps=1)
    kept = replace(run.objective, label_dropout=0.0)
    export = run_diffusion(replace(run, objective=kept))
    assert not read_card(export).learned_none
    for options in (("--guidance", 4), ("--labels", "none"), ("--protocol", "sit_guided")):
        status, _, err = specmatch("sample", run.out, "--out", tmp_path / "x.png", *options)
        assert (status, "learned no image without its class" in err) == (2, True)
        assert not (tmp_path / "x.png").exists()
    assert read_card(run_diffusion(replace(run, out=str(tmp_path / "dropped")))).learned_none
    source = replace(run.source, latents=imported(-1, 0, 1, 1))
    card = read_card(run_diffusion(replace(run, out=str(tmp_path / "mixed"), source=source, objective=kept)))
    assert (card.learned_none, sum(card.class_counts)) == (True, 3)


def test_train_diffusion_refuses_missing_flips_and_autoencoders(
    small_diffusion, small_autoencoder, class_folder, command, tmp_path
):
    gone = shutil.copytree(small_autoencoder, tmp_path / "autoencoder")
    cache = cache_latents(str(gone), data=str(class_folder), split="all", size=32, out=tmp_path / "latents")
    shutil.rmtree(gone)
    run = replace(small_diffusion, source=diffusion_config.Source(latents=str(cache)))
    for arguments, said in (
        (("--source.flip",), "cache again with --flips, or train without flips"),
        (("--intervals.preview", 1), "name another by source.autoencoder, or set intervals.preview to 0"),
    ):
        status, _, err = command(run, *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
        assert not Path(run.out).exists()
    assert command(run)[0] == 0
    encoded_by = digest_weights(Autoencoder.from_pretrained(small_autoencoder))
    assert read_card(Path(run.out) / "export").autoencoder_digest == encoded_by


def test_train_diffusion_refuses_latents_of_another_autoencoder(
    small_diffusion, small_autoencoder, class_folder, command, specmatch, tmp_path
):
    own = shutil.copytree(small_autoencoder, tmp_path / "autoencoder")
    cache = cache_latents(str(own), data=str(class_folder), split="all", size=32, out=tmp_path / "latents")
    encoded_by = digest_weights(Autoencoder.from_pretrained(own))
    Autoencoder.from_preset("tiny", seed=1).save_pretrained(own)
    run = replace(small_diffusion, source=diffusion_config.Source(latents=str(cache)), steps=1)
    for arguments, said, remedy in (
        (
            ("--source.statistics", "declared"),
            f"latents of another autoencoder ({own} {encoded_by})",
            "cache the images",
        ),
        (("--intervals.preview", 1), f"of another autoencoder ({encoded_by})", "or set intervals.preview to 0"),
    ):
        status, _, err = command(run, *arguments)
        assert (status, err.count("\n")) == (2, 1)
        assert f"{said} than {own} (" in err
        assert remedy in err
        assert not Path(run.out).exists()
    status, _, err = command(run, "--source.autoencoder", own, "--intervals.preview", 1)
    assert status == 0
    assert err.count("warning") == 1
    assert "images and scale are right only if both encode alike" in err
    status, _, err = specmatch("sample", run.out, "--out", tmp_path / "named.png", "--num-images", 1)
    assert (status, err.count("warning")) == (0, 1)  # by the one that the training was told
    Autoencoder.from_preset("tiny", seed=2).save_pretrained(own)
    assert specmatch("sample", run.out, "--out", tmp_path / "changed.png", "--num-images", 1)[0] == 2
    for arguments in ((), ("--steps", 2)):
        assert command(replace(run, out=f"{run.out} quiet"), *arguments)[0] == 0
        assert read_card(Path(f"{run.out} quiet") / "export").autoencoder_digest == encoded_by
    status, _, err = specmatch("sample", f"{run.out} quiet", "--out", tmp_path / "x.png", "--num-images", 1)
    assert (status, err.count("\n")) == (2, 1)
    assert f"the model's latents are of another autoencoder ({encoded_by}) than {own}" in err


def test_train_diffusion_names_classes_without_latents_which_are_not_sampled(
    small_diffusion, imported, command, tmp_path
):
    run = replace(small_diffusion, source=diffusion_config.Source(latents=imported(1, 2, 2, 4, 2, 1)), steps=1)
    status, _, err = command(run)
    assert (status, "8 x 8 x 8, 5 classes" in err) == (0, True)
    assert "warning: no training data for these classes, and `sample` leaves them out: 0, 3\n" in err
    assert read_card(Path(run.out) / "export").class_counts == (0, 2, 3, 0, 1)
    err = command(replace(run, out=str(tmp_path / "other")), "--denoiser.no-labels")[2]
    assert "no training data" not in err
    assert read_card(tmp_path / "other" / "export").class_counts == ()


def test_train_diffusion_counts_the_classes_of_its_own_part(small_diffusion, class_folder, command, tmp_path):
    shutil.copytree(class_folder, tmp_path / "images")
    (tmp_path / "images" / "ape").mkdir()
    shutil.copy(class_folder / "cat" / "00.png", tmp_path / "images" / "ape")
    source = diffusion_config.Source(images=str(tmp_path / "images"), size=32, held_out=0.3)
    seed = next(  # that holds the only ape out
        seed for seed in range(100) if open_images(source.images, 32, held_out=0.3, seed=seed).labels.count(0) == 0
    )
    run = replace(small_diffusion, source=source, seed=seed, steps=1)
    assert "`sample` leaves them out: ape\n" in command(run)[2]
    card = read_card(Path(run.out) / "export")
    assert (card.classes, card.class_counts[0]) == (("ape", "cat", "dog"), 0)
    assert card.learned_classes == (1, 2)


def test_train_diffusion_warns_of_latents_off_scale(small_diffusion, latent_cache, command, tmp_path):
    copy = shutil.copytree(latent_cache, tmp_path / "copy")
    index = DOCUMENT.read(copy / "index.json")
    space = replace(index.info.latent_space, std=tuple(std / 5 for std in index.info.latent_space.std))
    DOCUMENT.write(copy / "index.json", replace(index, info=replace(index.info, latent_space=space)))
    source = diffusion_config.Source(latents=str(copy), statistics="channel")
    status, _, err = command(replace(small_diffusion, source=source, steps=1))
    assert status == 0
    assert "warning: normalised latents have mean" in err
    assert "standard deviation 5" in err or "standard deviation 4.9" in err


def test_run_diffusion_refuses_to_export_what_is_not_finite(small_diffusion):
    run = replace(small_diffusion, steps=2)
    run_diffusion(run)
    shutil.rmtree(Path(run.out) / "export")
    path = Path(run.out) / "checkpoints" / "0000002" / "state.pt"
    state = torch.load(path, weights_only=True)
    state["ema"]["shadow_params"][0][...] = torch.nan
    torch.save(state, path)
    write_manifest(path.parent)
    with pytest.raises(ValueError, match="the weights are not finite: nothing is exported"):
        run_diffusion(run)
    assert not (Path(run.out) / "export").exists()


def test_open_model_refuses_a_run_that_is_continued(small_diffusion):
    export = run_diffusion(replace(small_diffusion, steps=1))
    longer = replace(small_diffusion, steps=10_000)
    with pytest.raises(Stopped):
        run_diffusion(longer, lambda step, total: os.kill(os.getpid(), signal.SIGTERM) if step == 2 else None)
    with pytest.raises(ValueError, match=r"run.yaml says 10000 steps, the export is of step 1; rerun the same command"):
        open_model(longer.out, CPU)
    assert open_model(export, CPU).card.step == 1
    run_diffusion(replace(longer, steps=3))
    assert open_model(longer.out, CPU).card.step == 3


@pytest.mark.slow
def test_run_diffusion_resumes_after_kills_to_the_same_export(small_diffusion, sources, forked, tmp_path):
    curriculum = diffusion_config.Curriculum(keep=(2, 5), block=4)
    run = replace(
        small_diffusion, source=sources["encoded"], steps=5, accumulation=2, curriculum=curriculum, precision="bf16"
    )
    whole = replace(run, out=str(tmp_path / "whole"))
    alone = forked(asked(whole, tmp_path, "whole"))
    directory, folder = Path(run.out), Path(run.out) / "checkpoints"
    for moment in (
        "run.yaml",
        "checkpoints/.0000001.written.*",  # while it writes a checkpoint
        "checkpoints/0000003",
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
    assert [line["transform"] for line in logged(run)] == ["keep 2", "keep 2", "keep 5", "", ""]


def test_train_diffusion_stops_at_a_signal_and_resumes(small_diffusion, forked, tmp_path):
    run = replace(
        small_diffusion, steps=10_000, intervals=autoencoder_config.Intervals(log=1, preview=0, checkpoint=10_000)
    )
    file = asked(run, tmp_path)
    process = forked(file)
    log = Path(run.out) / "log.jsonl"
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 2, process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(40)
    steps = [line["step"] for line in logged(run)]
    said = file.with_suffix(".err").read_text()
    assert (process.exitcode, file.with_suffix(".out").read_text()) == (128 + signal.SIGTERM, "")
    assert (
        said.splitlines()[-1]
        == f"specmatch train-diffusion: stopped at step {steps[-1]}; rerun the same command to resume"
    )
    assert "Traceback" not in said
    assert checkpointed(run) == [f"{steps[-1]:07d}"]
    run_diffusion(replace(run, steps=steps[-1] + 1))
    assert [line["step"] for line in logged(run)] == [*steps, steps[-1] + 1]
