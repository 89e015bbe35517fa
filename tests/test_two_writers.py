"""Two commands at once on one output: one of them writes it, as if it were alone; and whose files they replace."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from processes import start, statuses
from runs import asked, checkpointed, files, wait_for
from spectrum_matching.files.locks import lock_of

CLOCK = re.compile(rb'"(images_per_second|waiting|time|seconds)": [^,}\n]*|"versions": .*')


@pytest.fixture
def verbs(small_run, small_diffusion, small_autoencoder, latent_cache, image_folder, trained_diffusion, tmp_path):
    """The command line of each verb, without its --out, by name."""
    run = replace(small_run, intervals=replace(small_run.intervals, preview=2))
    few = "--num-images 4 --num-tests 2 --size 32"
    return {
        "train-ae": f"train-ae --config {asked(run, tmp_path, 'ae')}",
        "train-diffusion": f"train-diffusion --config {asked(small_diffusion, tmp_path, 'df')}",
        "cache": f"cache {small_autoencoder} --data {image_folder} --size 32 --shard-images 5",
        "export": f"cache latents:{latent_cache} --export repa",
        "npz": f"sample {trained_diffusion} --steps 2 --num-images 9 --batch-size 2",
        "folder": f"sample {trained_diffusion} --steps 2 --num-images 9 --batch-size 2",
        "analyze": f"analyze {small_autoencoder} --data {image_folder} {few}",
        "reference": f"evaluate reference {image_folder} --size 32",
        "reconstruction": f"evaluate reconstruction {small_autoencoder} --data {image_folder} --size 32",
        "study": f"study directional-energy gradients:4 --data {image_folder} --size 32 --num-images 4",
    }


NAMES = {"npz": "x.npz", "reference": "x.safetensors"}


def running(line, out, said):
    """Start a command that writes what it says of an error into a file."""
    words = [*line.split(), "--out", str(out)]
    code = f"""
        import contextlib, sys
        from spectrum_matching.cli.main import main
        with open({str(said)!r}, "w") as stream, contextlib.redirect_stderr(stream):
            main({words!r})
    """
    return start(code)


def without_clock(folder):
    return {name: CLOCK.sub(b"", content) for name, content in files(folder).items()}


@pytest.mark.parametrize(
    "name",
    [
        *("train-ae", "train-diffusion", "cache", "export", "npz", "folder", "reference", "reconstruction", "study"),
        pytest.param("analyze", marks=pytest.mark.slow),
    ],
)
def test_two_commands_at_once_write_what_one_does(verbs, tmp_path, name):
    out = tmp_path / "out" / NAMES.get(name, "x")
    assert statuses(running(verbs[name], out, tmp_path / "said")) == [0]
    alone = without_clock(out.parent)
    shutil.rmtree(out.parent)
    found = statuses(*(running(verbs[name], out, tmp_path / f"said{k}") for k in (1, 2)))
    assert 0 in found
    for k, status in zip((1, 2), found, strict=True):
        if status:
            last = (tmp_path / f"said{k}").read_text().splitlines()[-1]
            assert status == 2
            assert "is being written by process" in last or (name == "export" and "is not empty" in last), last
    both = without_clock(out.parent)
    assert [file for file in alone if alone[file] != both.get(file)] == []
    assert both.keys() == alone.keys()


def test_another_sampling_into_one_file_is_refused_or_replaces_it(verbs, tmp_path):
    for seed in (0, 1):
        line = f"{verbs['npz']} --seed {seed}"
        assert statuses(running(line, tmp_path / f"{seed}" / "x.npz", tmp_path / "said")) == [0]
    one, other = (files(tmp_path / seed) for seed in "01")
    for _ in range(3):
        lines = (f"{verbs['npz']} --seed {seed}" for seed in (0, 1))
        out = tmp_path / "both" / "x.npz"
        assert 0 in statuses(*(running(line, out, tmp_path / f"said{k}") for k, line in enumerate(lines)))
        assert {name: content for name, content in files(out.parent).items() if name == "x.npz"} in (
            {"x.npz": one["x.npz"]},
            {"x.npz": other["x.npz"]},
        )
        shutil.rmtree(out.parent)


def project(folder):
    """A folder of the user's own."""
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "thesis.txt").write_text("mine")
    (folder / "log.jsonl").write_text('{"step": 9}\n')
    (folder / "report.html").write_text("<p>mine")
    return folder


@pytest.mark.parametrize("name", ["train-ae", "train-diffusion", "cache", "export", "folder", "analyze", "study"])
def test_commands_touch_no_folder_of_something_else(verbs, specmatch, tmp_path, name):
    folder = project(tmp_path / "project")
    before = files(folder)
    status, _, err = specmatch(*verbs[name].split(), "--out", folder)
    assert status == 2
    assert str(folder) in err.splitlines()[-1]
    assert files(folder) == before


@pytest.mark.parametrize(
    "name", ["npz", "reference", pytest.param("analyze", marks=pytest.mark.slow), "reconstruction"]
)
def test_commands_replace_foreign_files_only_with_overwrite(verbs, specmatch, tmp_path, name):
    target = {"analyze": "report.html", "reconstruction": "scores.json"}.get(name, NAMES.get(name))
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / target).write_text("mine")
    out = folder / NAMES[name] if name in NAMES else folder
    status, _, err = specmatch(*verbs[name].split(), "--out", out)
    assert (status, files(folder)) == (2, {target: b"mine"})
    assert "--overwrite" in err.splitlines()[-1]
    assert specmatch(*verbs[name].split(), "--out", out, "--overwrite")[0] == 0
    assert (folder / target).read_bytes() != b"mine"
    status, _, err = specmatch(*verbs[name].split(), "--out", out)
    assert status == 0  # what we wrote is ours to replace
    if name != "npz":
        assert any(line.startswith("will replace ") and str(folder / target) in line for line in err.splitlines())


def test_refused_command_leaves_no_folder_of_its_own(specmatch, tmp_path):
    (tmp_path / "mine").mkdir()
    for out in (tmp_path / "new" / "deeper", tmp_path / "mine"):
        assert specmatch("analyze", tmp_path / "nothing", "--out", out)[0] == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize("option", ["--out", "--data", "--lpips", "--features"])
@pytest.mark.parametrize("form", ["{} ", "{}="])
def test_an_empty_value_is_an_error(verbs, specmatch, option, form):
    words = [*verbs["analyze"].split(), "--out", "x"] if option != "--out" else verbs["analyze"].split()
    status, _, err = specmatch(*words, *form.format(option).split(" "))
    assert (status, err) == (2, f"specmatch analyze: {option} is empty: give it a value, or leave it out\n")
    assert not Path("x").exists()


@pytest.mark.parametrize("name", ["cache", "analyze", "reconstruction"])
def test_a_size_of_zero_is_an_error(verbs, specmatch, tmp_path, name):
    line = verbs[name].replace("--size 32", "--size 0").split()
    status, _, err = specmatch(*line, "--out", tmp_path / "x")
    assert status == 2
    assert "size is 0, expected at least one pixel" in err


def test_train_ae_again_keeps_what_the_user_put_into_the_export(verbs, specmatch, tmp_path):
    words = [*verbs["train-ae"].split(), "--out", tmp_path / "run"]
    assert specmatch(*words)[0] == 0
    (tmp_path / "run" / "export" / "README.md").write_text("a model card")
    before = files(tmp_path / "run" / "export")
    assert specmatch(*words)[0] == 0
    assert files(tmp_path / "run" / "export") == before


@pytest.mark.parametrize("name", ["samples", "checkpoints", "export"])
def test_train_ae_follows_no_link_in_its_directory(verbs, specmatch, tmp_path, name):
    words = [*verbs["train-ae"].split(), "--out", tmp_path / "run"]
    assert specmatch(*words)[0] == 0
    folder = project(tmp_path / "project")
    before = files(folder)
    shutil.rmtree(tmp_path / "run" / name)
    (tmp_path / "run" / name).symlink_to(folder)
    status, _, err = specmatch(*words)
    assert status == 2
    assert err.splitlines()[-1].endswith(f"{tmp_path / 'run' / name} is a link, which is not followed: remove it")
    assert files(folder) == before


def test_train_ae_writes_a_lost_preview_and_clears_what_a_kill_left(verbs, specmatch, tmp_path):
    words = [*verbs["train-ae"].split(), "--out", tmp_path / "run"]
    assert specmatch(*words)[0] == 0
    before = files(tmp_path / "run" / "samples")
    assert sorted(before) == ["0000002.png", "0000004.png"]
    (tmp_path / "run" / "samples" / "0000004.png").unlink()
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "0000003", checkpoints / "0000001")  # one too many
    (checkpoints / ".0000009.written.00000000-1-00000000-0.partial").mkdir()  # of another machine, of today
    assert specmatch(*words)[0] == 0
    assert files(tmp_path / "run" / "samples") == before
    assert [path for path in sorted(checkpoints.iterdir()) if not path.name.startswith(".")] == [
        checkpoints / "0000003",
        checkpoints / "0000004",
    ]


def test_train_ae_in_a_removed_directory_fails(small_run, tmp_path):
    run = replace(small_run, steps=2000)
    process = running(f"train-ae --config {asked(run, tmp_path)}", Path(run.out), tmp_path / "said")
    wait_for(lambda: (Path(run.out) / "checkpoints" / "0000002").exists(), process)
    Path(run.out).rename(tmp_path / "away")
    assert statuses(process) == [2]
    assert "run" in (tmp_path / "said").read_text().splitlines()[-1]
    assert not (Path(run.out) / "export").exists()


def test_a_killed_command_leaves_no_lock(small_run, specmatch, tmp_path):
    run = replace(small_run, steps=2000)
    process = running(f"train-ae --config {asked(run, tmp_path)}", Path(run.out), tmp_path / "said")
    wait_for(lambda: (Path(run.out) / "checkpoints" / "0000002").exists(), process)
    status, _, err = specmatch("train-ae", "--config", asked(run, tmp_path))
    assert status == 2
    assert f"{run.out} is being written by process {process.pid}, started 20" in err
    process.kill()
    process.join()
    assert lock_of(Path(run.out)).exists()
    last = int(checkpointed(run)[-1])
    assert specmatch("train-ae", "--config", asked(replace(run, steps=last + 1), tmp_path))[0] == 0
    assert not lock_of(Path(run.out)).exists()


def test_cache_clears_what_a_kill_left_in_its_last_step(verbs, specmatch, tmp_path):
    words = [*verbs["cache"].split(), "--out", tmp_path / "lat"]
    assert specmatch(*words)[0] == 0
    before = files(tmp_path / "lat")
    for name in (".unfinished.json", ".latents-00002.json"):
        shutil.copy(tmp_path / "lat" / "index.json", tmp_path / "lat" / name)
    assert specmatch(*words)[0] == 0
    assert files(tmp_path / "lat") == before
