import pytest
from scipy.stats import t as student_t

import equal_reconstruction as equal
from spectrum_matching.comparison.checks import open_plan
from spectrum_matching.comparison.plans import Entry, Measuring, Plan
from spectrum_matching.comparison.trial import run_trial
from spectrum_matching.files.stages import run_stage
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Data, Intervals, MethodChoice
from spectrum_matching.training.diffusion_config import DenoiserChoice, DiffusionRun


@pytest.fixture
def opened(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(equal, "EVERY", 2)
    monkeypatch.setattr(equal, "MOST", 6)
    intervals = Intervals(log=1, preview=0, checkpoint=1)
    data = Data(path=str(image_folder), size=32, held_out=0.3)
    plan = Plan(
        out=str(tmp_path / "runs"),
        seeds=(0,),
        entries={"autoencoder": Entry(), "DSM": Entry(MethodChoice("dsm", block=4, keep=(7, 3)))},
        autoencoder=AutoencoderRun(steps=2, batch_size=2, data=data, intervals=intervals),
        diffusion=DiffusionRun(
            steps=2,
            batch_size=4,
            denoiser=DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2),
            intervals=intervals,
        ),
        sampling=SamplingChoice("euler", 2, batch_size=4),
        measuring=Measuring(samples=6, reconstructions=8, analyzed=6, tested=2),
    )
    return open_plan(plan)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "steps", "n_looks"), [(-100.0, 2, 1), (1000.0, 6, 3)])
def test_an_entry_trains_until_it_is_equal_or_for_the_most_updates(opened, target, steps, n_looks):
    stages, training = equal.run_entry(opened, "DSM", 0, target)
    assert (training["steps"], len(training["looks"])) == (steps, n_looks)
    scores = equal.all_scores_of(stages)
    # What was trained in parts, with a look after each, is what the comparison trains in one go.
    assert scores["reconstruction_psnr"] == pytest.approx(training["psnr"])
    if target < 0:
        plain = run_trial(opened, "DSM", 0, run_stage)
        assert plain["autoencoder"].folder == stages["autoencoder"].folder
        assert plain["scores"].digest == stages["scores"].digest
    again, _ = equal.run_entry(opened, "DSM", 0, target)
    assert {name: done.folder for name, done in again.items()} == {name: done.folder for name, done in stages.items()}


@pytest.mark.slow
def test_training_until_equal_goes_on_after_its_last_look(opened, tmp_path, monkeypatch):
    whole = equal.train_until_equal(opened, "DSM", 0, 1000.0, tmp_path / "whole")
    looked, first = equal.psnr_of, []

    def interrupted(*arguments):
        if first:
            raise KeyboardInterrupt
        first.append(looked(*arguments))
        return first[0]

    with monkeypatch.context() as patch:
        patch.setattr(equal, "psnr_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            equal.train_until_equal(opened, "DSM", 0, 1000.0, tmp_path / "parts")
    assert equal.train_until_equal(opened, "DSM", 0, 1000.0, tmp_path / "parts") == whole


def test_tests_compare_each_method_with_the_control():
    rows = [
        {"entry": entry, "seed": seed, "scores": {"fid": value + seed / 10, "fid_reconstructions": 5.0 + seed}}
        for entry, value in ((equal.CONTROL, 35.0), ("DSM", 32.0), ("EQ-VAE", 35.1))
        for seed in (0, 1, 2)
    ]
    found = equal.tests(rows)
    assert {name: each["word"] for name, each in found["fid"].items()} == {"DSM": "lower", "EQ-VAE": "undecided"}
    assert found["fid"]["DSM"]["mean"] == pytest.approx(-3.0)
    assert {each["word"] for each in found["fid_reconstructions"].values()} == {"undecided"}


def test_p_is_corrected_for_methods_that_have_not_run():
    rows = [
        {"entry": entry, "seed": seed, "scores": dict.fromkeys(equal.OUTCOMES, value + seed)}
        for entry, value in ((equal.CONTROL, 35.0), ("DSM", 32.0))
        for seed in (0, 1, 2)
    ]
    # t = 3 / (1 · √(2/3)) with 4 degrees of freedom, p = 0.0213 two-sided, of four methods.
    expected = 4 * 2 * student_t.sf(3 / (2 / 3) ** 0.5, 4)
    assert equal.tests(rows)["fid"]["DSM"]["p"] == pytest.approx(expected)


def test_a_method_of_one_seed_is_shown_untested():
    scores = dict.fromkeys((*equal.SHOWN, "fid"), 35.0)
    rows = [{"entry": equal.CONTROL, "seed": seed, "scores": scores} for seed in (0, 1)]
    rows += [{"entry": "EQ-VAE", "seed": 0, "scores": scores, "training": {"steps": 800}}]
    found = equal.tests(rows)
    assert found == {key: {} for key in equal.OUTCOMES}
    assert "| EQ-VAE | 800 |" in equal.table({"rows": rows, "tests": found})
