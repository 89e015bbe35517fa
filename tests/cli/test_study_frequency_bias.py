"""The study of the frequency bias, so small that it runs in seconds, through the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from spectrum_matching.cli import study as command_study
from spectrum_matching.files.checkpoints import read_checkpoint, write_checkpoint
from spectrum_matching.files.yaml_files import override
from spectrum_matching.spectrum import fit_power_law
from spectrum_matching.studies.frequency_bias import run_case, run_study
from spectrum_matching.studies.frequency_bias.plans import PLANS, FrequencyPlan, check_plan
from spectrum_matching.studies.frequency_bias.record import FREQUENCY_BIAS

SMALL = FrequencyPlan(
    name="small",
    size=16,
    n_train=32,
    n_test=6,
    denoiser="SiT-micro/8",
    latent_denoiser="SiT-micro/2",
    steps=3,
    batch_size=4,
    warmup=1,
    eval_points=3,
    times=(0.3, 0.7),
    bands=5,
    samples=3,
    sampling_steps=2,
    seeds=(0, 1),
    main=("images",),
    deltas=(2.0,),
    exponents=(0.0,),
    loss_powers=(1.0,),
    injected=4,
)
CASES = (
    *("images", "images, delta 2", "Gaussian surrogates", "white noise", "loss times f^1", "loss over power"),
    *("predicts data", "latents of tiny"),
)


@pytest.fixture
def command(monkeypatch, specmatch, tmp_path):
    """Arguments, given to `specmatch study frequency-bias small` → exit status, standard output, standard error.

    config: fields of the plan, given by --config.
    """

    def study(*arguments, **config):
        monkeypatch.setitem(PLANS, "small", SMALL)
        if config:
            (tmp_path / "plan.yaml").write_text(yaml.safe_dump(config))
            arguments = (*arguments, "--config", tmp_path / "plan.yaml")
        return specmatch("study", "frequency-bias", "small", *arguments)

    return study


@pytest.fixture
def _no_figures(monkeypatch):
    """Figures take longer than such trainings."""
    monkeypatch.setattr(command_study, "frequency_page", lambda study: '<meta name="generator" content="specmatch">')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frequency")


@pytest.fixture
def study(command, folder, small_autoencoder):
    """The finished study, as its first command left it."""
    if not (folder / "study.json").exists():
        status, out, err = command("--out", folder, "--autoencoders", f"tiny={small_autoencoder}")
        assert status == 0, err
        assert "images, delta 2, seed 0: 3 of 3" in err
        assert "Gaussian surrogates" in out
        assert str(folder / "report.html") in out
    return FREQUENCY_BIAS.read(folder / "study.json")


def trained(folder):
    return {path: path.read_bytes() for path in folder.rglob("case.json")}


@pytest.mark.slow
def test_frequency_bias_takes_every_case_from_data_to_numbers(study, folder):
    assert study.names == CASES
    assert [case.seed for case in study.of("images")] == [0, 1]
    for case in study.cases:
        assert [point.step for point in case.evals] == [0, 3]
        assert len(case.bands) == 5
        assert sum(band.coefficients for band in case.bands) == case.shape[1] * case.shape[2]
        for at, level in enumerate(case.levels):
            errors = case.evals[-1].data_errors[at]
            assert min(errors) > 0
            power = sum(band.power * band.coefficients for band in case.bands) / (case.shape[1] * case.shape[2])
            assert level.relative_error == pytest.approx(sum(errors) / power)
            assert level.wiener_relative_error == pytest.approx(sum(level.wiener_errors) / power)
        is_image = case.space == "pixels" and not case.name.startswith(("Gaussian", "white"))
        assert (case.levels[0].csf_over_wiener is not None) == is_image
        assert case.provenance.device == "cpu"
    assert study.of("latents of tiny")[0].shape == (8, 4, 4)
    assert study.plan.deltas == (2.0,)
    assert not list(folder.rglob("*checkpoint*"))


def exponent(case):
    """The exponent of a power law through the bands."""
    power, frequencies = (torch.tensor([getattr(band, of) for band in case.bands]) for of in ("power", "frequency"))
    return float(fit_power_law(power.double(), frequencies.double()).exponent)


def test_frequency_bias_makes_tilted_images_flatter(study):
    plain, flat, white = (exponent(study.of(name)[0]) for name in ("images", "images, delta 2", "white noise"))
    assert plain - flat == pytest.approx(2, abs=0.5)  # of a few bands, of which f is not one
    assert abs(white) < 0.3


def test_frequency_bias_injects_errors_that_are_equal_to_psnr_alone(study):
    metrics = {metric.metric: metric for metric in study.injected.metrics}
    assert set(metrics) == {"PSNR", "CSF-weighted PSNR", "SSIM"}
    assert metrics["PSNR"].correlation is None
    assert metrics["SSIM"].correlation is not None
    assert study.injected.n_images == 4


def test_frequency_bias_page_explains_itself_and_loads_nothing(study, folder):
    page = (folder / "report.html").read_text()
    for name in CASES:
        assert name in page
    for heading in ("Which bands are learned first", "Which bands are learned best", "Equal errors, band by band"):
        assert f">{heading}</h2>" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert "mathdefault" not in page
    assert "specmatch study frequency-bias small" in re.sub(r"</?span>", "", page)


@pytest.mark.usefixtures("_no_figures")
def test_frequency_bias_does_not_rerun_finished_cases(study, folder, command, small_autoencoder, monkeypatch):
    before = trained(folder)
    monkeypatch.setattr(run_study, "run_case", pytest.fail)
    status, _, err = command("--out", folder, "--autoencoders", f"tiny={small_autoencoder}")
    assert status == 0, err
    assert trained(folder) == before


@pytest.mark.slow
@pytest.mark.usefixtures("_no_figures")
def test_frequency_bias_resumes_after_a_kill_with_the_same_numbers(study, command, tmp_path, monkeypatch):
    ran, run = [], run_study.run_case

    def interrupted(plan, name, *others):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(name)
        return run(plan, name, *others)

    monkeypatch.setattr(run_study, "run_case", interrupted)
    assert command("--out", tmp_path)[0] == 130
    first, ran[:] = list(ran), []
    assert first == ["images", "images, delta 2"]
    assert command("--out", tmp_path, "--cases", "images", "white noise")[0] == 0
    assert ran == ["white noise", "images"]  # seed 1 of the images
    found = FREQUENCY_BIAS.read(tmp_path / "study.json")
    assert found.names == ("images", "images, delta 2", "white noise")
    assert "Not run yet: Gaussian surrogates, seed 0" in found.notes[-1]
    for case in found.cases:
        assert case == next(own for own in study.of(case.name) if own.seed == case.seed)


@pytest.mark.usefixtures("_no_figures")
def test_frequency_bias_resumes_a_killed_case_from_its_checkpoint(study, command, tmp_path, monkeypatch):
    def killed(folder, state):
        write_checkpoint(folder, state)
        if read_checkpoint(folder, "")["step"] == 2:
            raise KeyboardInterrupt

    trained_at, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: trained_at.append(1) or step(self))
    monkeypatch.setattr(run_case, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(run_case, "write_checkpoint", killed)
    arguments = ("--out", tmp_path / "out", "--cases", "images")
    assert command(*arguments, seeds=[0])[0] == 130
    assert len(trained_at) == 2
    monkeypatch.setattr(run_case, "write_checkpoint", write_checkpoint)
    assert command(*arguments, seeds=[0])[0] == 0
    assert len(trained_at) == 3
    assert not list(tmp_path.rglob("*checkpoint*"))
    (case,) = FREQUENCY_BIAS.read(tmp_path / "out" / "study.json").cases
    assert case == study.of("images")[0]


@pytest.mark.usefixtures("_no_figures")
def test_frequency_bias_reruns_a_case_when_its_settings_change(study, folder, command, monkeypatch):
    ran, run = [], run_study.run_case

    def counted(plan, name, *others):
        ran.append((name, plan.steps))
        return run(plan, name, *others)

    monkeypatch.setattr(run_study, "run_case", counted)
    before = trained(folder)
    assert command("--out", folder, "--cases", "images", deltas=[1.0, 2.0])[0] == 0
    assert not ran
    assert command("--out", folder, "--cases", "images", "--steps", "4", seeds=[0])[0] == 0
    assert ran == [("images", 4)]
    assert {path: trained(folder)[path] for path in before} == before


def test_frequency_bias_dry_run_checks_and_prints_the_plan(command, tmp_path):
    status, out, err = command("--dry-run", "--data", "nowhere", "--out", tmp_path / "new")
    assert (status, out) == (2, "")
    assert "nowhere" in err
    status, out, err = command("--dry-run", "--out", tmp_path / "new", exponents=[3.0])
    assert status == 0
    printed = yaml.safe_load(out)
    assert (printed["exponents"], printed["steps"]) == ([3.0], 3)
    assert "checked up to the first step" in err
    assert "8 trainings of 3 updates: images; images, delta 2" in err
    assert not (tmp_path / "new").exists()


def test_frequency_plan_has_no_case_of_what_changes_nothing():
    plan = replace(SMALL, prediction="data", predictions=("data",), deltas=(0.0, 1.0), loss_powers=(0.0,))
    assert list(plan.cases) == ["images", "images, delta 1", *CASES[2:4], "loss over power"]


@pytest.mark.parametrize("name", PLANS)
def test_check_plan_accepts_every_plan(name):
    check_plan(override(PLANS[name], {}, name))  # must not raise


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (("--cases", "image"), {}, "--cases: no case 'image'; did you mean images?"),
        (("--autoencoders", "gone=/nowhere/ae"), {}, "/nowhere/ae"),
        ((), {"size": 20}, "a grid of 20 × 20 is not divisible into patches of 8"),
        ((), {"denoiser": "SiT-nano/8"}, "no denoiser 'SiT-nano/8'"),
        (("--data", "{images}"), {}, " held out, the plan takes 32 and 6: lower n_train, n_test or injected"),
        (("--data", "/nowhere"), {}, "no such file or folder: /nowhere"),
        ((), {"size": 8}, "size is 8, expected at least 11, the window of SSIM; or set injected to 0"),
        ((), {"seeds": [1, 1]}, "seeds must be unique, got (1, 1)"),
        ((), {"features": "/nowhere"}, "/nowhere"),
        (("--steps", "0"), {}, "steps is 0"),
        ((), {"deltas": [float("nan")]}, "deltas.0 is nan"),
        ((), {"times": [0.5, 1.0]}, "times.1 is 1.0"),
        ((), {"look": 3}, "unknown key look"),
        (
            ("--autoencoders", "tiny={autoencoder}"),
            {"size": 8, "injected": 0},
            "tiny: size 8 is too small for spectra or image metrics; take 12 or more",
        ),
    ],
)
def test_frequency_bias_refuses_what_cannot_run_before_any_work(
    command, tmp_path, image_folder, small_autoencoder, arguments, config, message
):
    words = [word.format(images=image_folder, autoencoder=small_autoencoder) for word in arguments]
    status, _, err = command("--out", tmp_path / "out", *words, **config)
    assert status == 2
    *opened, line = err.strip().splitlines()
    assert message in line
    assert opened in ([], [f"{image_folder}: 24 images"])
    assert not list(Path(tmp_path).rglob("*.json"))


def test_frequency_bias_json_has_no_nan(study, folder):
    json.loads((folder / "study.json").read_text(), parse_constant=pytest.fail)
