"""Processes of one launch: what the environment says, and every verb started as torchrun starts it."""

import re

import numpy as np
import pytest
from PIL import Image

from processes import launched, start_two, statuses, torchrun
from runs import asked
from spectrum_matching.cli.main import COMMANDS, SHARING
from spectrum_matching.evaluation.reference import load_reference
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.processes import LOCAL_RANKS, MEETING_POINT, RANKS, SIZES, Launch, launch
from spectrum_matching.records.scores import EVALUATIONS

TWO = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in (*RANKS, *SIZES, *LOCAL_RANKS, *MEETING_POINT):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, Launch(0, 1, 0)),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, Launch(0, 1, 0)),
        (TWO, Launch(1, 2, 1)),
        (TWO | {"WORLD_SIZE": "8", "RANK": "5"}, Launch(5, 8, 1)),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
            | {name: TWO[name] for name in MEETING_POINT},
            Launch(1, 2, 0),
        ),
    ],
)
def test_launch_reads_the_environment(monkeypatch, variables, place):
    set_all(monkeypatch, variables)
    assert launch() == place


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "1"}, "RANK is 1, but WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "1", "RANK": "1"}, "RANK is 1, but WORLD_SIZE is 1"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"),
        (TWO | {"MASTER_PORT": ""}, "WORLD_SIZE is 2, but MASTER_PORT is not set"),
        (TWO | {"RANK": "2"}, "RANK is 2 and LOCAL_RANK 1 of 2 processes"),
        (TWO | {"LOCAL_RANK": "2"}, "RANK is 1 and LOCAL_RANK 2 of 2 processes"),
        (TWO | {"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', expected a number"),
        (TWO | {"WORLD_SIZE": "0"}, "WORLD_SIZE is 0, expected at least 1"),
    ],
)
def test_launch_refuses_contradictions_in_one_line(monkeypatch, specmatch, variables, said):
    set_all(monkeypatch, variables)
    with pytest.raises(ValueError, match=f"^{said}.*: launch by torchrun, or unset"):
        launch()
    status, out, err = specmatch("cache", "nothing", "--out", "nowhere")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"specmatch cache: {said}")


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SHARING])
def test_commands_that_share_no_work_refuse_several_processes(monkeypatch, specmatch, name, rank):
    set_all(monkeypatch, TWO | {"RANK": rank, "LOCAL_RANK": rank})
    said = f"specmatch {name}: runs in one process; several share the work of {', '.join(SHARING)}\n"
    assert specmatch(name) == (2, "", said if rank == "0" else "")


@pytest.fixture
def verbs(small_run, small_diffusion, small_autoencoder, image_folder, trained_diffusion, tmp_path):
    """The command line of each verb that processes share, by name; outputs lie in `tmp_path`."""
    lines = {
        "train-ae": f"train-ae --config {asked(small_run, tmp_path, 'ae')}",
        "train-diffusion": f"train-diffusion --config {asked(small_diffusion, tmp_path, 'df')}",
        "cache": f"cache {small_autoencoder} --data {image_folder} --size 32 --out {tmp_path}/lat --shard-images 5",
        "sample": f"sample {trained_diffusion} --steps 2 --num-images 5 --batch-size 2 --out {tmp_path}/s.npz",
        "reference": f"evaluate reference {image_folder} --size 32 --batch-size 2 --out {tmp_path}/r.safetensors",
        "reconstruction": f"evaluate reconstruction {small_autoencoder} --data {image_folder} --size 32 --batch-size 2 "
        f"--out {tmp_path}/scores",
    }
    return {name: line.split() for name, line in lines.items()}


def in_two(words, folder):
    """Run a command in two processes of the environment of torchrun; return its statuses and how many joined."""
    code = f"""
        import os
        from pathlib import Path
        from accelerate import PartialState
        from spectrum_matching.cli.main import main
        try:
            main({list(map(str, words))!r})
        finally:
            Path({str(folder)!r}, "n" + os.environ["RANK"]).write_text(str(PartialState().num_processes))
    """
    found = statuses(*start_two(code))
    return found, [(folder / f"n{rank}").read_text() for rank in (0, 1)]


@pytest.mark.parametrize("name", ["train-ae", "train-diffusion", "cache", "sample", "reference", "reconstruction"])
def test_every_sharing_verb_joins_its_processes_on_a_cpu(verbs, tmp_path, name):
    assert verbs[name][0] in SHARING
    assert in_two(verbs[name], tmp_path) == ([0, 0], ["2", "2"])


@pytest.fixture
def unlike(tmp_path):
    """Two folders, 0 and 1, with `photos` of four images, of which one differs, and an untrained autoencoder `ae`."""
    for rank in (0, 1):
        (tmp_path / str(rank) / "photos").mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i + 9 * (rank and i == 3)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(rank) / "photos" / f"{i}.png")
        model = Autoencoder.from_preset("tiny", seed=rank)
        model.save_pretrained(tmp_path / str(rank) / "ae", LatentSpace("scale", (0.0,), (1.0,)))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("cache {model} --data photos --size 32 --out {out}", "images"),
        ("cache ae --data {images} --size 32 --out {out}", "encoder"),
        ("sample {sit} --autoencoder ae --steps 2 --num-images 4 --out {out}", "autoencoder"),
        ("evaluate reference photos --size 32 --out {out}.safetensors", "images"),
        ("evaluate reconstruction ae --data {images} --size 32 --out {out}", "autoencoder"),
    ],
)
def test_sharing_verbs_refuse_processes_that_see_other_data_or_weights(
    unlike, words, what, small_autoencoder, image_folder, trained_diffusion
):
    names = {"model": small_autoencoder, "images": image_folder, "sit": trained_diffusion, "out": unlike / "out"}
    code = f"""
        import os, sys
        os.chdir({str(unlike)!r} + "/" + os.environ["RANK"])
        sys.stderr = open("said", "w")
        from spectrum_matching.cli.main import main
        main({words.format(**names).split()!r})
    """
    assert statuses(*start_two(code)) == [2, 2]
    said = (unlike / "0" / "said").read_text()
    assert re.search(rf"processes 0 and 1 of the launch do not start alike: {what} \(\S.* and \S.*\); let all", said)
    assert not [path for path in unlike.rglob("out*/**/*") if path.is_file()]


def test_evaluate_generation_in_two_processes_scores_as_one_does(verbs, specmatch, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", pixels)
    assert specmatch(*verbs["reference"])[0] == 0
    words = ["evaluate", "generation", tmp_path / "samples.npz", "--reference", tmp_path / "r.safetensors"]
    assert in_two([*words, "--batch-size", "2", "--out", tmp_path / "two"], tmp_path) == ([0, 0], ["2", "2"])
    assert specmatch(*words, "--out", tmp_path / "one")[0] == 0
    (one,), (two,) = (EVALUATIONS.read(tmp_path / name / "scores.json") for name in ("one", "two"))
    assert one.protocol == two.protocol
    assert one.value("swd") == pytest.approx(two.value("swd"), rel=1e-6)


def test_in_all_raises_in_every_process_what_one_has_found(tmp_path):
    code = f"""
        import os
        from pathlib import Path
        from spectrum_matching.processes import AgreedError, in_all, open_accelerator
        accelerator = open_accelerator()
        def check():
            if accelerator.process_index == 1:
                raise ValueError("the data are not on this machine")
            return "fine"
        try:
            in_all(accelerator, check)
        except AgreedError as error:
            said = str(error)
        both = in_all(accelerator, lambda: os.environ["RANK"])
        Path({str(tmp_path)!r}, os.environ["RANK"]).write_text(f"{{said}}, {{both}}")
    """
    assert statuses(*start_two(code)) == [0, 0]
    said = [(tmp_path / rank).read_text() for rank in ("0", "1")]
    assert said == [f"the data are not on this machine, {rank}" for rank in (0, 1)]


@pytest.mark.slow
def test_plain_torchrun_writes_one_reference(verbs, tmp_path):
    done = torchrun("-m", "spectrum_matching", *verbs["reference"])
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'r.safetensors'}\n"), done.stderr
    assert load_reference(tmp_path / "r.safetensors").n_images == 24


@pytest.mark.slow
def test_accelerate_launch_runs_the_command(verbs, tmp_path):
    options = ["--num_processes", "1", "--cpu"]
    done = launched("accelerate.commands.launch", *options, "-m", "spectrum_matching.cli", *verbs["cache"])
    assert done.returncode == 0, done.stderr
    assert len(open_latents(tmp_path / "lat")) == 24
