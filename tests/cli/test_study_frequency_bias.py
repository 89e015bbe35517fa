"""The study of the frequency bias, so small that it runs in seconds, through the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spectrum_matching.cli import study_frequency_bias
from spectrum_matching.cli.main import main
from spectrum_matching.files.yaml_files import override
from spectrum_matching.studies.frequency_bias import cases, run_case, training
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
    looks=3,
    times=(0.3, 0.7),
    bands=4,
    samples=3,
    sampler="euler",
    sampling_steps=2,
    seeds=(0, 1),
    main=("images",),
    deltas=(2.0,),
    exponents=(0.0,),
    loss_powers=(1.0,),
    injected=4,
)
CASES = (
    *("images", "images, delta 2", "Gaussian twins", "white noise", "loss times f^1", "loss over power"),
    *("predicts data", "latents of tiny"),
)


@pytest.fixture
def command(monkeypatch, capfd):
    """Arguments, given to `specmatch study frequency-bias small` → exit status, standard output, standard error."""

    def study(*arguments, plan=SMALL):
        monkeypatch.setitem(PLANS, "small", lambda: plan)
        status = 0
        try:
            main(["study", "frequency-bias", "small", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    return study


@pytest.fixture
def unseen(monkeypatch):
    """No figures are drawn, which takes longer than such trainings."""
    monkeypatch.setattr(study_frequency_bias, "frequency_blocks", lambda study: ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frequency")


@pytest.fixture
def study(command, folder, small_autoencoder):
    """The finished study, as its first command left it."""
    if not (folder / "study.json").exists():
        status, _, err = command("--out", folder, "--autoencoders", f"tiny={small_autoencoder}")
        assert status == 0, err
    return FREQUENCY_BIAS.read(folder / "study.json")


def trained(folder):
    return {path: path.read_bytes() for path in folder.rglob("case.json")}


def test_every_case_goes_from_data_to_numbers(study, folder):
    assert study.names == CASES
    assert [case.seed for case in study.of("images")] == [0, 1]
    for case in study.cases:
        assert [look.step for look in case.looks] == [0, 3]
        assert len(case.bands) == 4
        assert sum(band.coefficients for band in case.bands) == case.shape[1] * case.shape[2]
        for at, level in enumerate(case.levels):
            for k, error in enumerate(case.looks[-1].data_errors[at]):
                assert error > 0
                velocity = case.looks[-1].velocity_errors[at][k]
                assert velocity == pytest.approx(error * level.velocity_factor)
        # Only what can be undone to images is looked at as images.
        is_image = case.subject == "pixels" and not case.name.startswith(("Gaussian", "white"))
        assert (case.levels[0].network is not None) == is_image == bool(case.samples)
        assert (case.csf is not None) == (case.levels[0].seen_error is not None) == is_image
        assert case.provenance.device == "cpu"
    latents = study.of("latents of tiny")[0]
    assert latents.shape == (8, 4, 4)
    assert study.of("predicts data")[0].objective.startswith("squared error of the data on the linear path")
    assert study.of("loss times f^1")[0].objective.endswith("times f^1")
    assert override(FrequencyPlan(), yaml.safe_load(study.plan), "plan").deltas == (2.0,)


def test_tilted_images_are_flatter(study):
    plain, flat = (study.of(name)[0].exponent.value for name in ("images", "images, delta 2"))
    assert plain - flat == pytest.approx(2, abs=0.5)  # of a few bands, of which f is not one
    assert abs(study.of("white noise")[0].exponent.value) < 0.3


def test_twins_have_the_linear_denoiser_of_the_images(study):
    one, other = (study.of(name)[0] for name in ("images", "Gaussian twins"))
    for own, twin in zip(one.levels, other.levels, strict=True):
        assert sum(own.promised_errors) == pytest.approx(sum(twin.promised_errors), rel=0.15)


def test_injected_errors_are_equal_to_psnr_alone(study):
    damages = {damage.metric: damage for damage in study.injection.damages}
    assert set(damages) == {"PSNR", "CSF-weighted PSNR", "SSIM"}
    assert damages["PSNR"].correlation is None
    assert damages["SSIM"].correlation is not None
    assert study.injection.n_images == 4


def test_the_page_says_how_to_read_it_and_loads_nothing(study, folder):
    page = (folder / "report.html").read_text()
    for name in CASES:
        assert name in page
    for heading in ("Which bands are learned first", "Which bands are learned best", "Equal errors, band by band"):
        assert f">{heading}</h2>" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert "mathdefault" not in page
    assert "specmatch study frequency-bias small" in page


def test_finished_cases_are_not_run_again(study, unseen, folder, command, small_autoencoder, monkeypatch):
    before = trained(folder)
    for name in ("run_case", "harms"):
        monkeypatch.setattr(cases, name, pytest.fail)
    status, _, err = command("--out", folder, "--autoencoders", f"tiny={small_autoencoder}")
    assert status == 0, err
    assert trained(folder) == before


def test_a_killed_study_goes_on_where_it_was_and_the_same_seed_gives_the_same_numbers(
    study, unseen, folder, command, tmp_path, monkeypatch
):
    ran, run_case = [], cases.run_case

    def interrupted(plan, name, seed, fields, **others):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(name)
        return run_case(plan, name, seed, fields, **others)

    monkeypatch.setattr(cases, "run_case", interrupted)
    assert command("--out", tmp_path)[0] == 130
    first, ran[:] = list(ran), []
    assert first == ["images", "images, delta 2"]
    assert command("--out", tmp_path, "--cases", "images", "white noise")[0] == 0
    assert ran == ["white noise", "images"]  # seed 1 of the images
    found = FREQUENCY_BIAS.read(tmp_path / "study.json")
    assert found.names == ("images", "images, delta 2", "white noise")
    assert "Not run yet: Gaussian twins, seed 0" in found.notes[-1]
    for case in found.cases:
        twin = next(own for own in study.of(case.name) if own.seed == case.seed)
        assert replace(case, seconds=0, data="") == replace(twin, seconds=0, data="")


def test_a_killed_case_goes_on_from_what_it_kept(study, unseen, folder, command, tmp_path, monkeypatch):
    def killed(target, write):
        write_folder_atomically(target, write)
        raise KeyboardInterrupt

    began, write_folder_atomically, train = [], cases.write_folder_atomically, run_case.train_denoiser
    monkeypatch.setattr(training, "KEEP_EVERY", 2)
    monkeypatch.setattr(cases, "write_folder_atomically", killed)
    arguments = ("--out", tmp_path, "--cases", "images", "--seeds", "0")
    assert command(*arguments)[0] == 130
    monkeypatch.setattr(cases, "write_folder_atomically", write_folder_atomically)
    monkeypatch.setattr(run_case, "train_denoiser", lambda *a, **b: began.append(b["kept"]["step"]) or train(*a, **b))
    assert command(*arguments)[0] == 0
    assert began == [2]
    assert not list(tmp_path.rglob("state.pt"))
    (case,) = FREQUENCY_BIAS.read(tmp_path / "study.json").cases
    assert replace(case, seconds=0) == replace(study.of("images")[0], seconds=0)


def test_what_changes_a_case_trains_it_anew_and_what_does_not_does_not(study, unseen, folder, command, monkeypatch):
    ran, run_case = [], cases.run_case

    def counted(plan, name, seed, fields, **others):
        ran.append((name, plan.steps))
        return run_case(plan, name, seed, fields, **others)

    monkeypatch.setattr(cases, "run_case", counted)
    before = trained(folder)
    assert command("--out", folder, "--cases", "images", "--deltas", "1", "2")[0] == 0
    assert not ran
    assert command("--out", folder, "--cases", "images", "--steps", "4", "--seeds", "0")[0] == 0
    assert ran == [("images", 4)]
    assert {path: trained(folder)[path] for path in before} == before


def test_a_dry_run_prints_the_plan_and_needs_no_data(command, tmp_path):
    status, out, err = command("--dry-run", "--data", "nowhere", "--out", tmp_path / "new", "--exponents", "3")
    assert status == 0
    printed = yaml.safe_load(out)
    assert (printed["data"], printed["exponents"], printed["steps"]) == ("nowhere", [3.0], 3)
    assert "8 trainings of 3 updates: images, images, delta 2" in err
    assert not (tmp_path / "new").exists()


def test_what_all_predict_has_no_case_of_its_own(command, tmp_path):
    status, out, err = command("--dry-run", "--prediction", "data", "--out", tmp_path / "new")
    assert status == 0, err
    assert yaml.safe_load(out)["predictions"] == []
    assert "predicts data" not in err


@pytest.mark.parametrize("name", [name for name in PLANS if name != "small"])
def test_the_plans_hold(name):
    check_plan(PLANS[name]())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cases", "image"), "--cases: no case 'image'; did you mean images?"),
        (("--autoencoders", "gone=/nowhere/ae"), "/nowhere/ae"),
        (("--size", "20"), "images of 20 pixels are not cut into patches of 8: take another --denoiser"),
        (("--denoiser", "SiT-nano/8"), "no denoiser 'SiT-nano/8'"),
        (("--data", "{images}"), " held out, the plan takes 32 and 6: lower n_train, n_test or injected by --config"),
        (("--data", "/nowhere"), "no such file or folder: /nowhere"),
        (("--seeds", "1", "1"), "seeds are (1, 1)"),
        (("--lpips", "/nowhere"), "/nowhere"),
        (("--steps", "0"), "steps is 0: expected at least 1"),
        (("--deltas", "nan"), "deltas are (nan,): expected finite numbers"),
        (("--deltas", "0", "2"), "expected none of them twice, and not 0, which the case images is"),
        (("--exponents", "1", "1"), "exponents are (1.0, 1.0): expected none of them twice"),
        (("--autoencoders", "tiny={autoencoder}", "--size", "8"), "latents of 'tiny' have 2 x 2 cells, too few"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line_before_any_work(
    command, tmp_path, image_folder, small_autoencoder, arguments, said
):
    words = [word.format(images=image_folder, autoencoder=small_autoencoder) for word in arguments]
    status, _, err = command("--out", tmp_path / "out", *words)
    assert status == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list(Path(tmp_path).rglob("*.json"))


def test_the_json_holds_no_number_that_is_none(study, folder):
    text = (folder / "study.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
