"""A comparison in two processes of a launch, which share its stages."""

from dataclasses import replace
from pathlib import Path

import pytest

from processes import start_two, statuses
from spectrum_matching.comparison import trial as trial_module
from spectrum_matching.comparison.plans import PLANS, Entry, Measuring, Plan
from spectrum_matching.files.yaml_files import to_yaml
from spectrum_matching.records.comparison import COMPARISON
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Data, Intervals, Optimizer
from spectrum_matching.training.diffusion_config import DenoiserChoice, DiffusionRun


@pytest.fixture(scope="module")
def plan(image_folder, tmp_path_factory):
    """A plan whose autoencoder draws no random numbers, so that two processes train what one does."""
    intervals, optimizer = Intervals(log=1, preview=0, checkpoint=1), Optimizer(warmup=2)
    return Plan(
        out=str(tmp_path_factory.mktemp("compared") / "two"),
        seeds=(0,),
        entries={"autoencoder": Entry()},
        autoencoder=AutoencoderRun(
            steps=2,
            batch_size=4,
            sample_posterior=False,
            data=Data(path=str(image_folder), size=32, held_out=0.3),
            optimizer=optimizer,
            intervals=intervals,
        ),
        diffusion=DiffusionRun(
            steps=2,
            batch_size=4,
            denoiser=DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2),
            intervals=intervals,
        ),
        sampling=SamplingChoice("euler", 2, batch_size=2),
        measuring=Measuring(samples=6, reconstructions=8, analyzed=6, tested=2),
    )


def compare_in_two(plan, folder):
    """Run the plan in two processes; return their statuses, and what each wrote to its outputs."""
    folder.mkdir(exist_ok=True)
    (folder / "plan.yaml").write_text(to_yaml(plan))
    code = f"""
        import os
        from pathlib import Path
        from spectrum_matching.cli.main import main
        said = os.open({str(folder / "said")!r} + os.environ["RANK"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        main(["compare", "embedded", "--config", {str(folder / "plan.yaml")!r}])
    """
    found = statuses(*start_two(code))
    return found, [(folder / f"said{rank}").read_text() for rank in (0, 1)]


@pytest.fixture(scope="module")
def compared(plan, tmp_path_factory):
    return compare_in_two(plan, tmp_path_factory.mktemp("said"))


@pytest.mark.slow
def test_compare_in_two_processes_speaks_once(plan, compared):
    statuses, (first, second) = compared
    assert statuses == [0, 0], first + second
    assert first.count("training the autoencoder: 2 of 2") == first.count("One seed each") == 1
    assert second == ""


@pytest.mark.slow
def test_two_processes_share_stages_that_one_then_finds(plan, compared, specmatch, monkeypatch, tmp_path):
    (trial,) = COMPARISON.read(Path(plan.out) / "comparison.json").trials
    assert trial.generation.protocol.n_images == 6
    for verb in ("run_autoencoder", "run_diffusion", "write_cache", "write_samples", "analyze", "evaluate_generation"):
        monkeypatch.setattr(trial_module, verb, pytest.fail)
    monkeypatch.setitem(PLANS, "embedded", lambda: plan)
    assert specmatch("compare", "embedded")[0] == 0
    monkeypatch.undo()
    monkeypatch.setitem(PLANS, "embedded", lambda: plan)
    assert specmatch("compare", "embedded", "--out", tmp_path / "one")[0] == 0
    (alone,) = COMPARISON.read(tmp_path / "one" / "comparison.json").trials
    assert trial.numbers["psnr"] == pytest.approx(alone.numbers["psnr"], rel=1e-3)
    assert trial.reconstruction.value("psnr") == pytest.approx(alone.reconstruction.value("psnr"), rel=1e-3)
    assert trial.reconstruction.protocol == alone.reconstruction.protocol


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion": DiffusionRun(batch_size=3)}, "diffusion: batch_size is 3, expected a multiple of accumulation"),
        ({"control": "nobody"}, "control is 'nobody'"),
    ],
)
def test_compare_in_two_processes_refuses_in_one_line(plan, tmp_path, changes, said):
    statuses, (first, second) = compare_in_two(replace(plan, out=str(tmp_path / "new"), **changes), tmp_path)
    assert (statuses, first.count("\n"), second) == ([2, 2], 1, "")
    assert said in first
    assert not (tmp_path / "new").exists()
