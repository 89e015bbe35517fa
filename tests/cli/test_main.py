import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from runs import asked, files
from spectrum_matching import __version__
from spectrum_matching.cli.main import COMMANDS
from spectrum_matching.files.yaml_files import override, to_yaml
from spectrum_matching.training import autoencoder_config
from spectrum_matching.training.checks import check_autoencoder_run

CHECKED = "checked up to the first step; the memory of the device and the space on the disk were not tried out\n"


def dry_run(specmatch, *arguments):
    status, out, err = specmatch("train-ae", *arguments, "--dry-run")
    assert status == 0
    assert err.endswith(CHECKED)
    return override(autoencoder_config.AutoencoderRun(), yaml.safe_load(out), "printed")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_main_help_lists_commands(specmatch, arguments):
    status, out, _ = specmatch(*arguments)
    assert status == 0
    assert all(f"  {verb} " in out for verb in COMMANDS)


def test_main_version(specmatch):
    assert specmatch("--version") == (0, __version__ + "\n", "")


def test_main_suggests_the_nearest_command(specmatch):
    assert specmatch("anaylze") == (
        2,
        "",
        "specmatch: unknown command 'anaylze' (did you mean analyze?); see `specmatch --help`\n",
    )
    assert specmatch("???") == (2, "", "specmatch: unknown command '???'; see `specmatch --help`\n")


@pytest.mark.parametrize("name", autoencoder_config.PRESETS)
def test_train_ae_presets_are_valid_and_survive_yaml(name):
    run = autoencoder_config.PRESETS[name]()
    if "hub:" in (run.method.encoder or ""):
        run = replace(run, method=replace(run.method, encoder="gradients"))
    check_autoencoder_run(run)
    assert override(autoencoder_config.AutoencoderRun(), yaml.safe_load(to_yaml(run)), "printed") == run


def test_train_ae_options_override_file_and_preset(specmatch, tmp_path, image_folder):
    file = tmp_path / "part.yaml"
    file.write_text(f"seed: 1\nsteps: 2\nmethod: {{keep: [7]}}\ndata: {{path: {image_folder}}}\n")
    run = dry_run(specmatch, "tiny_dsm", "--config", file, "--steps", 3, "--optimizer.betas", 0.5, 0.9)
    assert (run.name, run.seed, run.steps, run.method.keep, run.optimizer.betas) == ("tiny_dsm", 1, 3, (7,), (0.5, 0.9))
    assert dry_run(specmatch, "tiny_esm_dsm", f"--config={file}").seed == 1


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("tiny_dsm", "--optimizer.learning-rate", "1"), "--optimizer.learning-rate"),
        (("tiny_dsm", "--steps", "many"), "--steps"),
        (("tiny_dsm", "--data.crop", "middle"), "--data.crop"),
    ],
)
def test_train_ae_names_bad_options(specmatch, arguments, key):
    status, out, err = specmatch("train-ae", *arguments, "--dry-run")
    assert status == 2
    assert key in out + err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("tiny_dms",), "no preset 'tiny_dms'; did you mean tiny_dsm"),
        (("zzz",), "no preset 'zzz'; known are tiny_autoencoder, "),
        (("dsm",), "no preset 'dsm'; did you mean tiny_dsm?"),
        (("tiny_dsm", "photos"), "takes 1 name, and 'photos' is one too many: images are named by --"),
        (("tiny_dsm", "--config", "none.yaml"), "cannot read none.yaml: No such file"),
        (("tiny_dsm", "--method.delta", "1"), "method dsm has no option delta; it has keep, block"),
        (("tiny_autoencoder", "--method.kl-weight", "1"), "method autoencoder has no option kl_weight; it has none"),
        (("tiny_va_vae", "--method.encoder", "nowhere"), "nowhere is not a folder with config.json"),
        (("tiny_va_vae", "--method.encoder-size", "64"), "gradients:4 takes images at their own size"),
        (("tiny_va_vae", "--method.cosine-margin", "3"), "margins must lie in [0, 2), got cosine_margin 3.0"),
        (("tiny_dsm", "--method.keep", "99"), "every keep must lie in 1 ... 15 for block 8, got (99,)"),
    ],
)
def test_train_ae_dry_run_refuses_invalid_runs(specmatch, arguments, named):
    status, out, err = specmatch("train-ae", *arguments, "--dry-run")
    assert (status, out) == (2, "")
    assert err.startswith(f"specmatch train-ae: {named}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "name a preset, such as tiny_autoencoder, or give --config FILE"),
        (("tiny_esm", "--network.train", "decoder"), "method esm has a loss on the latents (esm)"),
        (("tiny_dsm", "--network.train", "decoder"), "network.train is decoder, and a new encoder has learned nothing"),
        (("tiny_va_vae", "--network.train", "decoder"), "method va_vae has a loss on the latents (kl, features)"),
        (("tiny_va_vae", "--method.encoder", "nowhere"), "nowhere is not a folder with config.json"),
        (("tiny_va_vae", "--data.size", "66"), "images of 66 x 66 pixels have no grid of cells of 4"),
        (("tiny_va_vae", "--method.feature-weight", "-1"), "method.feature_weight is -1.0: must be greater"),
    ],
)
def test_train_ae_refuses_invalid_runs_before_writing(specmatch, tmp_path, arguments, named):
    status, _, err = specmatch("train-ae", *arguments, *(["--out", str(tmp_path / "run")] if arguments else []))
    assert status == 2
    assert err.startswith(f"specmatch train-ae: {named}")
    assert not any(tmp_path.iterdir())


def test_main_ends_quietly_when_the_reader_closes_the_pipe(monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = f"set -o pipefail; {sys.executable} -c 'from spectrum_matching.cli.main import main; main([])' | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def in_a_new_process(code, **environment):
    """Standard output of a new interpreter; variables that are None are unset."""
    variables = {**os.environ, **environment}
    variables = {key: value for key, value in variables.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_main_needs_no_torch_for_help_and_version(option):
    code = f"import sys; from spectrum_matching.cli.main import main; main([{option!r}]); print('torch' in sys.modules)"
    assert in_a_new_process(code)[-1] == "False"


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_main_sets_wait_policy_unless_the_user_has(set_by_user, expected):
    code = (
        "import os; from spectrum_matching.cli.main import main; main(['--version']);"
        "print(os.environ['OMP_WAIT_POLICY'])"
    )
    assert in_a_new_process(code, OMP_WAIT_POLICY=set_by_user)[-1] == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sample", "run", "--guidance", "nan"), "--guidance is nan"),
        (("sample", "run", "--guidance", "inf"), "--guidance is inf"),
        (("sample", "run", "--guidance-interval", "0", "nan"), "--guidance-interval is nan"),
        (("study", "directional-energy", "gradients", "--data", "embedded", "--gamma", "0.5", "nan"), "--gamma is nan"),
        (("study", "directional-energy", "gradients", "--data", "embedded", "--inner", "inf"), "--inner is inf"),
        (("study", "unified-view", "a.json", "--control", "dsm", "--delta=-inf"), "--delta is -inf"),
    ],
)
def test_commands_refuse_numbers_that_are_not_finite(specmatch, tmp_path, arguments, named):
    status, out, err = specmatch(*arguments, "--out", tmp_path / "out")
    assert (status, out, err) == (2, "", f"specmatch {arguments[0]}: {named}: must be a finite number\n")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_train_ae_refuses_a_file_of_numbers_that_are_not_finite(specmatch, tmp_path, value):
    file = tmp_path / "run.yaml"
    file.write_text(f"optimizer: {{lr: {value}}}\n")
    status, out, err = specmatch("train-ae", "--config", file, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert err.startswith(f"specmatch train-ae: {file}: optimizer.lr is ")
    assert "must be " in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", -1), "steps is -1: must be greater than 0"),
        (("--batch-size", 0), "batch_size is 0: must be greater than 0"),
        (("--accumulation", 0), "accumulation is 0: must be greater than 0"),
        (("--batch-size", 3, "--accumulation", 2), "batch_size is 3, expected a multiple of accumulation (2)"),
        (("--optimizer.lr", "nan"), "optimizer.lr is nan: must be "),
        (("--data.held-out", 2), "data.held_out is 2.0: must be less than 1"),
        (("--data.path", "nowhere"), "nowhere"),
        (("--data.size", 42), "data.size is 42, expected a multiple of the autoencoder's factor 4"),
        (("--network.pretrained", "no/such"), "no/such"),
        (("--losses.perceptual", 1, "--losses.perceptual-weights", "no/weights"), "no/weights"),
        (("--out", "a file"), "out: a file is a file, expected a folder"),
    ],
)
def test_train_ae_dry_run_refuses_what_the_run_refuses(specmatch, monkeypatch, tmp_path, image_folder, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    command = ("train-ae", "tiny_autoencoder", "--data.path", image_folder, "--out", "run", *arguments)
    status, out, err = specmatch(*command, "--dry-run")
    assert (status, out) == (2, "")
    assert err.startswith("specmatch train-ae: ")
    assert said in err.splitlines()[-1]
    assert [path.name for path in Path().iterdir()] == ["a file"]
    assert specmatch(*command) == (2, "", err)


def test_train_ae_dry_run_refuses_a_folder_that_cannot_be_made(specmatch, tmp_path, image_folder):
    (tmp_path / "a file").touch()
    command = ("train-ae", "tiny_autoencoder", "--data.path", image_folder, "--out", tmp_path / "a file" / "run")
    for arguments in (("--dry-run",), ()):
        status, out, err = specmatch(*command, *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "a file/run" in err


def test_train_ae_dry_run_writes_nothing_and_checks_the_data_of_a_resume(specmatch, small_run, tmp_path, image_folder):
    folder = Path(shutil.copytree(image_folder, tmp_path / "images"))
    run = replace(small_run, data=replace(small_run.data, path=str(folder)), steps=1)
    file = asked(run, tmp_path)
    before = files(tmp_path)
    assert specmatch("train-ae", "--config", file, "--dry-run")[:2] == (0, to_yaml(run, brief=True))
    assert files(tmp_path) == before
    assert specmatch("train-ae", "--config", file)[0] == 0
    before = files(tmp_path)
    assert specmatch("train-ae", "--config", file, "--dry-run")[:2] == (0, to_yaml(run, brief=True))
    assert files(tmp_path) == before
    (folder / "00.png").unlink()
    status, out, err = specmatch("train-ae", "--config", file, "--dry-run")
    assert (status, out) == (2, "")
    assert f"{run.out} was started on other data" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", "99999999999999999999"), "seed is 99999999999999999999: expected a number below 2^63"),
        (("--intervals.log", "99999999999999999999"), "intervals.log is 99999999999999999999: expected a number below"),
        (("--optimizer.weight-decay", "-1"), "optimizer.weight_decay is -1.0: must be greater than or equal to 0"),
    ],
)
def test_train_ae_names_a_number_that_nothing_holds(specmatch, image_folder, tmp_path, arguments, said):
    small = ("--data.path", image_folder, "--data.size", 32, "--out", tmp_path / "run")
    status, out, error = specmatch("train-ae", "tiny_dsm", *small, *arguments)
    assert (status, out) == (2, "")
    assert said in error
    assert "Traceback" not in error


def test_main_says_in_one_line_that_memory_does_not_suffice(specmatch, image_folder, tmp_path):
    options = ("--data.path", image_folder, "--data.size", 1_000_000, "--out", tmp_path / "run")
    status, _, error = specmatch("train-ae", "tiny_dsm", *options)
    assert status == 2
    assert error.splitlines()[-1].startswith("specmatch train-ae: not enough memory (")
    assert "; lower sizes" in error.splitlines()[-1]
