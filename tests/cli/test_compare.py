"""A plan so small that all of its stages run in seconds, through the command."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import yaml

from files_of_tests import write_labelled, write_pictures
from spectrum_matching.cli.compare import amount, gigabytes
from spectrum_matching.cli.main import main
from spectrum_matching.comparison import plans
from spectrum_matching.comparison import trial as trial_module
from spectrum_matching.comparison.checks import check_plan, open_plan, resolved
from spectrum_matching.comparison.collect import notes
from spectrum_matching.comparison.plans import PLANS, Entry, Measuring, Plan
from spectrum_matching.data.images import open_images
from spectrum_matching.files.settings import differences
from spectrum_matching.files.stages import run_stage
from spectrum_matching.files.yaml_files import override, to_yaml
from spectrum_matching.latents.gain_choice import GainChoice
from spectrum_matching.metrics.images.frechet import normalised_distance
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.nets.vision.perceptual import shapes_of_weights
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.comparison import COMPARISON
from spectrum_matching.sampling.generate import SamplingChoice
from spectrum_matching.training.autoencoder_config import AutoencoderRun, Data, Intervals, Losses, MethodChoice, Network
from spectrum_matching.training.diffusion_config import Curriculum, DenoiserChoice, DiffusionRun, ObjectiveChoice
from spectrum_matching.training.train_autoencoder import AutoencoderTrainer
from spectrum_matching.training.train_diffusion import DiffusionTrainer

FEATURES = """
import torch

def make():
    return lambda images: torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], 1)
"""


@pytest.fixture(scope="module")
def plan(image_folder, tmp_path_factory):
    features = tmp_path_factory.mktemp("features") / "features.py"
    features.write_text(FEATURES)
    intervals = Intervals(log=1, preview=0, checkpoint=1)
    data = Data(path=str(image_folder), size=32, held_out=0.3)
    return Plan(
        name="small",
        out=str(tmp_path_factory.mktemp("compared")),
        seeds=(0,),
        entries={
            "autoencoder": Entry(),
            "DSM": Entry(MethodChoice("dsm", block=4, keep=(7, 3))),
            "curriculum": Entry(curriculum=Curriculum(keep=(3,), block=4)),
        },
        autoencoder=AutoencoderRun(steps=2, batch_size=2, data=data, intervals=intervals),
        diffusion=DiffusionRun(
            steps=2,
            batch_size=4,
            denoiser=DenoiserChoice("SiT-micro/4", width=32, depth=2, heads=2),
            intervals=intervals,
        ),
        sampling=SamplingChoice("euler", 2, batch_size=4),
        measuring=Measuring(features=f"python:{features}:make", samples=7, reconstructions=8, analyzed=6, tested=2),
    )


@pytest.fixture
def command(specmatch, monkeypatch):
    """A plan and arguments, given to `specmatch compare` → exit status, standard output, standard error."""

    def compare(asked, *arguments):
        monkeypatch.setitem(PLANS, "small", lambda: asked)
        return specmatch("compare", "small", *arguments)

    return compare


@pytest.fixture
def compared(plan, command):
    """The finished plan, as its first command left it; nothing is run where it is there."""
    if not (Path(plan.out) / "comparison.json").exists():
        status, _, err = command(plan)
        assert status == 0, err
    return COMPARISON.read(Path(plan.out) / "comparison.json")


def stages(plan):
    return {path: path.read_bytes() for path in Path(plan.out).rglob("stage.json")}


@pytest.mark.slow
def test_compare_runs_from_images_to_scores(plan, compared):
    assert [(t.method, t.seed) for t in compared.trials] == [("autoencoder", 0), ("DSM", 0), ("curriculum", 0)]
    for trial in compared.trials:
        assert trial.numbers["psnr"] > 0
        assert trial.generation.protocol.n_images == 7
        assert trial.generation.protocol.sampling.sampler == "euler"
        assert trial.generation.value("spectrum_error") > 0
        images = trial.reconstruction.protocol.images
        assert 2 <= images.n_images == trial.reconstruction.protocol.n_images == min(8, images.n_total)
        assert [point.step for point in trial.curve] == [1, 2]
        shared = {"autoencoder", "analysis", "reconstruction", "cache", "generative"}
        shared = set() if trial.method == "curriculum" else shared  # counted once
        assert set(trial.seconds) == {"diffusion", "samples", "scores"} | shared
    assert override(Plan(), yaml.safe_load(compared.plan), "plan") == resolved(plan)
    assert "report.html" in {path.name for path in Path(plan.out).iterdir()}


@pytest.mark.slow
def test_compare_measures_generation_without_training(plan, compared, command, monkeypatch):
    for trial in compared.trials:
        record, n = trial.generative, trial.reconstruction.protocol.n_images
        assert (record.n_generated, record.n_evaluated, record.extractor) == (7, n, "features.py")
        assert record.measurements["white_fid"].value > 0
        # Latents are of the training part, which no reconstruction is of.
        assert record.coverage.n_images + trial.reconstruction.protocol.images.n_total == 24
        scores = trial.generation.scores
        assert scores["fid_reconstructions_floor"] == record.measurements["fid_reconstructions_floor"]
        gaussian = record.measurements["gaussian_fid_reconstructions"]
        expected = normalised_distance(scores["fid_reconstructions"], scores["fid_reconstructions_floor"], gaussian)
        assert scores["fid_reconstructions_normalised"] == expected
    control, moved, curriculum = compared.trials
    assert control.generative == curriculum.generative != moved.generative


def test_run_trial_shares_equal_autoencoders(plan, compared):
    control, moved, curriculum = compared.trials
    assert control.autoencoder_digest == curriculum.autoencoder_digest != moved.autoencoder_digest
    assert control.denoiser_digest != curriculum.denoiser_digest
    assert not list((Path(plan.out) / "curriculum").glob("*/autoencoder-*"))


@pytest.mark.slow
def test_compare_does_not_rerun_finished_stages(plan, compared, command, monkeypatch):
    before = stages(plan)
    evaluations = ("analyze", "evaluate_reconstruction", "evaluate_generation")
    for verb in ("run_autoencoder", "run_diffusion", "write_cache", "write_samples", *evaluations):
        monkeypatch.setattr(trial_module, verb, pytest.fail)
    status, out, _ = command(plan)
    assert status == 0
    assert "| DSM |" in out
    assert stages(plan) == before


@pytest.mark.slow
def test_compare_reruns_only_stages_after_a_change(plan, compared, command, monkeypatch):
    before = stages(plan)
    for verb in ("run_autoencoder", "write_cache", "analyze", "evaluate_reconstruction"):
        monkeypatch.setattr(trial_module, verb, pytest.fail)
    longer = replace(plan, diffusion=replace(plan.diffusion, steps=3), entries={"autoencoder": Entry()})
    assert command(longer, "--out", plan.out)[0] == 0
    new = stages(plan)
    assert {path: new[path] for path in before} == before
    assert sorted(path.parent.name.split("-")[0] for path in new.keys() - before.keys()) == [
        "diffusion",
        "samples",
        "scores",
    ]


@pytest.mark.slow
def test_demo_writes_scores_and_analyses_on_one_page(plan, compared, monkeypatch, tmp_path, capfd):
    own = replace(plan, entries={name: plan.entries[name] for name in ("autoencoder", "DSM")})
    monkeypatch.setattr(plans, "demo", lambda fast: own)
    main(["demo", "--out", plan.out, "--fast"])  # its stages are there already
    assert "| DSM |" in capfd.readouterr().out
    page = (Path(plan.out) / "report.html").read_text()
    assert 'http-equiv="refresh"' not in page  # which the page had while it grew
    anchors = re.findall(r'\bid="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert {"summary", "samples", "latents-summary", "latents-pictures"} <= set(anchors)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    assert {name for names in re.findall(r'aria-labelledby="([^"]+)"', page) for name in names.split()} <= set(anchors)


@pytest.mark.slow
def test_compare_names_missing_trials(plan, compared, command, tmp_path):
    two = replace(plan, seeds=(0, 1), name="two")
    assert command(two, "--seeds", 0)[0] == 0
    comparison = COMPARISON.read(Path(plan.out) / "comparison.json")
    assert comparison.command == "specmatch compare small --seeds 0"
    assert len(comparison.trials) == 3
    (note,) = [note for note in comparison.notes if note.startswith("Unfinished trials: ")]
    assert note.count("seed 1 (next: ") == 3


def test_notes_count_the_seeds_that_have_a_trial(plan):
    planned = replace(plan, seeds=(0, 1))
    assert notes(planned, 1, 1, (), 1)[0].endswith("; 1 of 2 seeds.")
    assert notes(planned, 1, 1, (), 2)[0].endswith("; 2 seeds.")


@pytest.mark.parametrize(("data", "said"), [(None, "holds out other images"), ("test", "that of training alone")])
def test_notes_name_what_varies_between_seeds(plan, data, said):
    measured = replace(plan, measuring=replace(plan.measuring, data=data))
    (note,) = [note for note in notes(measured, 1, 1, (), 1) if "the spread over seeds" in note]
    assert said in note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, ("--only", "DMS"), "no entry 'DMS'; did you mean DSM?"),
        ({}, ("--seeds", 7), "7 is not a seed of the plan"),
        ({"entries": {}}, (), "no entries or no seeds"),
        ({"control": "nobody"}, (), "control is 'nobody'"),
        ({"seeds": (0, 0)}, (), "seeds must be unique"),
        ({"sampling": SamplingChoice(steps=0)}, (), "sampling.steps is 0"),
        (
            {
                "sampling": SamplingChoice(guidance=4.0),
                "diffusion": DiffusionRun(objective=ObjectiveChoice(label_dropout=0.0)),
            },
            (),
            "guidance is 4.0, but the plan is unconditional",
        ),
        ({"measuring": Measuring(samples=1)}, (), "measuring.samples is 1"),
        (
            {"diffusion": DiffusionRun(denoiser=DenoiserChoice("SiT-micro/3"))},
            (),
            "cannot be divided into 3 x 3 patches",
        ),
        ({"entries": {"autoencoder": Entry(MethodChoice("dsm", delta=1.0))}}, (), "has no option delta"),
        (
            {"entries": {"autoencoder": Entry(gain=GainChoice(gain_channels="decorrelated"))}},
            (),
            "entry autoencoder: gain_channels decorrelated is of flatten and whiten: give one of them",
        ),
        ({"entries": {"autoencoder": Entry(MethodChoice("va_vae", encoder="nowhere"))}}, (), "nowhere is not a folder"),
        ({"entries": {"autoencoder": Entry(MethodChoice("va_vae", encoder="nowhere"))}}, ("--dry-run",), "nowhere is"),
        *(
            ({"measuring": measuring}, arguments, said)
            for arguments in ((), ("--dry-run",))
            for measuring, said in (
                (Measuring(features="nothing.pt"), "no feature extractor 'nothing.pt'"),
                (Measuring(data="nowhere"), "nowhere"),
                (Measuring(reference_data="nothing here"), "nothing here"),
            )
        ),
        *(
            ({"autoencoder": AutoencoderRun(**change)}, arguments, said)
            for arguments in ((), ("--dry-run",))
            for change, said in (
                ({"data": Data(path="no images")}, "no images"),
                ({"network": Network(pretrained="no/network")}, "no/network"),
                ({"losses": Losses(perceptual=1.0, perceptual_weights="no/weights")}, "no/weights"),
            )
        ),
    ],
)
def test_compare_refuses_invalid_plans_before_any_work(plan, command, tmp_path, changes, arguments, said):
    status, out, err = command(replace(plan, out=str(tmp_path / "new"), **changes), *arguments)
    assert (status, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_compare_names_the_key_of_the_plan_where_memory_does_not_suffice(plan, command, monkeypatch, tmp_path):
    def short_of_memory(trainer, images, *arguments):
        if len(images) == 1:
            return backward(trainer, images, *arguments)
        raise RuntimeError("out of memory")

    backward = AutoencoderTrainer.backward
    monkeypatch.setattr(AutoencoderTrainer, "backward", short_of_memory)
    monkeypatch.setattr(DiffusionTrainer, "backward", short_of_memory)
    small, changes = replace(plan, out=str(tmp_path / "out"), entries={"autoencoder": Entry()}), tmp_path / "part.yaml"
    changes.write_text("{}")
    for key in ("autoencoder", "diffusion"):
        status, _, err = command(small, "--config", changes)
        assert status == 2
        named = f"--accumulation 2; in a plan, {key}.accumulation"
        assert f"raise accumulation to 2 ({named}), or take gradient_checkpointing, precision bf16 or " in err
        changes.write_text(f"{key}: {{accumulation: 2}}")


def test_later_configs_change_what_earlier_ones_left(plan, command, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("diffusion: {steps: 7, batch_size: 6}\nentries: {autoencoder: {}}")
    second.write_text("diffusion: {steps: 9}")
    status, out, _ = command(plan, "--config", first, second, "--dry-run", "--out", tmp_path / "out")
    assert status == 0
    found = yaml.safe_load(out)
    assert (found["diffusion"]["steps"], found["diffusion"]["batch_size"]) == (9, 6)
    assert list(found["entries"]) == ["autoencoder"]


def test_compare_names_all_that_is_missing_at_once(specmatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = specmatch("compare", "celeba256_f8d4", "--dry-run")
    errors = [line for line in err.splitlines() if "this CPU only emulates" not in line]  # of bf16, on some CPUs
    assert (status, out, len(errors)) == (2, "", 1)
    plan = PLANS["celeba256_f8d4"]()
    weights = (plan.autoencoder.losses.perceptual_weights, plan.measuring.features.partition(":")[2])
    assert all(name in err for name in (*weights, plan.autoencoder.data.path, plan.measuring.data))


def test_compare_suggests_the_nearest_plan(capfd):
    with pytest.raises(SystemExit):
        main(["compare", "cifar"])
    assert "did you mean cifar10?" in capfd.readouterr().err


def test_compare_says_which_commands_compare_autoencoders(specmatch, tmp_path):
    for names in ((tmp_path, tmp_path), (tmp_path,)):
        status, out, err = specmatch("compare", *names)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "`specmatch analyze A B`" in err
        assert "`specmatch compare-latents A B`" in err


def test_compare_without_a_plan_lists_plans(specmatch):
    status, out, err = specmatch("compare")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert all(name in err for name in PLANS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*plans.PLANS, "demo"])
def test_plans_pass_check_plan_and_survive_yaml(name):
    plan = plans.demo(fast=True) if name == "demo" else plans.PLANS[name]()
    assert override(Plan(), yaml.safe_load(to_yaml(plan)), "there") == plan
    check_plan(plan)  # must not raise


class AskedError(Exception):
    """Raised in place of the first stage that is to be run."""


@pytest.mark.slow
@pytest.mark.parametrize("labels", [False, True])
def test_measuring_labels_asks_for_metrics_by_class(plan, class_folder, tmp_path, labels):
    measuring = replace(plan.measuring, data=str(class_folder), features=None, analyzed=12, labels=labels)
    opened = open_plan(replace(plan, out=str(tmp_path), entries={"autoencoder": Entry()}, measuring=measuring))
    done = trial_module.run_trial(opened, "autoencoder", 0, run_stage)
    (analysis,) = ANALYSES.read(done["analysis"].folder / "analysis.json")
    refused = analysis.view("mean").measurements["viv_class"].refused
    assert ("no labels" in refused) is not labels


@pytest.mark.parametrize("by_class", [False, True])
def test_run_trial_repeats_the_stages_that_take_labels(plan, tmp_path, by_class):
    tar = tmp_path / "images.tar"
    data = replace(plan.autoencoder.data, path=str(tar))
    measuring = replace(plan.measuring, features=None, labels=by_class)
    plan = replace(plan, autoencoder=replace(plan.autoencoder, data=data), measuring=measuring, out=str(tmp_path))

    def stages(labels, asked=True):
        write_labelled(tar, labels)
        denoiser = replace(plan.diffusion.denoiser, labels=asked)
        opened = open_plan(replace(plan, diffusion=replace(plan.diffusion, denoiser=denoiser)))
        done = trial_module.run_trial(opened, "autoencoder", 0, untrained)
        return {(name, stage.digest) for name, stage in done.items()}

    def untrained(parent, name, inputs, work):
        return run_stage(parent, name, inputs, lambda folder: {"weights": ""})

    first, other = ["a", "b"] * 6, ["b", "a", "a", "b"] * 3
    assert stages(first) == stages(first)
    changed = {name for name, _ in stages(first) - stages(other)}
    assert changed == {"cache", "diffusion", "samples", "scores"} | ({"analysis"} if by_class else set())
    if not by_class:
        assert stages(first, asked=False) == stages(other, asked=False)


def test_labels_need_images_with_classes(plan):
    with pytest.raises(ValueError, match="class"):
        open_plan(replace(plan, measuring=replace(plan.measuring, labels=True)))


def test_open_plan_measures_on_what_each_seed_held_out_of_the_training_data(plan, tmp_path):
    path = plan.autoencoder.data.path
    measuring = replace(plan.measuring, data=str(Path(path) / ".." / Path(path).name), features=None)
    opened = open_plan(replace(plan, measuring=measuring, seeds=(0, 1), out=str(tmp_path)))
    for seed, images in opened.measured.items():
        trained = open_images(path, 32, held_out=0.3, seed=seed)
        assert not {*images.names} & {*trained.names}
        assert len(images) + len(trained) == opened.n_training
    assert opened.references == opened.measured
    assert opened.plan.measuring.data is None


def test_open_plan_refuses_to_measure_on_a_part_of_the_training_data(plan, tmp_path):
    """And takes one that only lies in the same folder."""
    for name in ("all/a", "all/b", "other"):
        write_pictures(tmp_path / name, 8)
    measuring = replace(plan.measuring, data=str(tmp_path / "all" / "a"), features=None)
    data = replace(plan.autoencoder.data, path=str(tmp_path / "all"))
    part = replace(
        plan, autoencoder=replace(plan.autoencoder, data=data), measuring=measuring, out=str(tmp_path / "out")
    )
    with pytest.raises(
        ValueError, match=r"measuring\.data: \d of the 8 images in .*a are trained on, as part of .*all: "
    ):
        open_plan(part)
    apart = replace(part, measuring=replace(measuring, data=str(tmp_path / "other")))
    assert len(open_plan(apart).measured[0]) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"autoencoder": {"method": {"name": "dsm"}}},
        {"diffusion": {"curriculum": {"keep": [3]}}},
        {"diffusion": {"alignment": {"weight": 0.5, "encoder": "gradients:4"}}},
    ],
)
def test_check_plan_refuses_what_the_entries_would_replace(plan, changes):
    ((run, parts),) = changes.items()
    ((part, options),) = parts.items()
    option = next(iter(options))
    with pytest.raises(ValueError, match=rf"^{run}.{part}.{option} is .*: set it in the entries \(entries.NAME.{part}"):
        check_plan(override(plan, changes, "there"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guidance_interval": (0.7, 0.3)}, "the guidance interval is 0.7 to 0.3"),
        ({"labels": "2"}, "labels is '2', expected balanced, random or none, or a class from 0 to 1"),
        ({"guidance_by": "step", "sampler": "dpm_solver"}, "guidance_by is step"),
        ({"last_step": 0.5, "end": 0.1}, "end"),
    ],
)
@pytest.mark.parametrize("name", ["sampling", "diffusion.preview"])
def test_open_plan_refuses_what_cannot_be_sampled(plan, class_folder, tmp_path, name, change, said):
    data = replace(plan.autoencoder.data, path=str(class_folder))
    intervals = replace(plan.diffusion.intervals, preview=1)
    choice = replace(plan.sampling, **change)
    diffusion = replace(plan.diffusion, intervals=intervals, preview=choice if "preview" in name else plan.sampling)
    plan = replace(plan, autoencoder=replace(plan.autoencoder, data=data), diffusion=diffusion, out=str(tmp_path))
    with pytest.raises(ValueError, match=f"^{name}: .*{said}"):
        open_plan(replace(plan, sampling=choice if name == "sampling" else plan.sampling))


def autoencoder_inputs(plan, entry):
    """Return what decides the result of an entry's first stage."""

    def stage(parent, name, inputs, work):
        raise AskedError(name, inputs)

    with pytest.raises(AskedError) as asked:
        trial_module.run_trial(open_plan(plan), entry, 0, stage)
    name, inputs = asked.value.args
    assert name == "autoencoder"
    return inputs


def test_run_trial_hashes_vision_encoder_weights(plan, save_dinov2, tmp_path):
    choice = MethodChoice("va_vae", encoder=str(tmp_path / "vision"))
    plan = replace(plan, entries={"autoencoder": Entry(), "VA-VAE": Entry(choice)})

    def recipe(seed, entry):
        save_dinov2(tmp_path / "vision", seed)
        return autoencoder_inputs(plan, entry)

    first, again, other = (recipe(seed, "VA-VAE") for seed in (0, 0, 1))
    assert first == again
    assert {key for key in first if first[key] != other[key]} == {"vision"}
    assert recipe(0, "autoencoder") == recipe(1, "autoencoder")


def save_lpips(folder, seed):
    folder.mkdir(exist_ok=True)
    names = {f"lin{k}": f"lin{k}.model.1.weight" for k in range(5)}
    weights = {names.get(name, name): torch.zeros(shape) for name, shape in shapes_of_weights().items()}
    heads = {name: torch.full((1, len(weights[name]), 1, 1), float(seed)) for name in names.values()}
    torch.save(weights | heads, folder / "weights.pt")


def save_tiny(folder, seed):
    Autoencoder.from_preset("tiny", seed).save_pretrained(folder)


@pytest.mark.parametrize(
    ("setting", "what", "save"),
    [
        ("network.pretrained", "pretrained network", save_tiny),
        ("distillation.teacher", "teacher", save_tiny),
        ("losses.perceptual_weights", "perceptual network", save_lpips),
    ],
)
def test_run_trial_hashes_the_networks_that_training_is_given(plan, tmp_path, setting, what, save):
    part, name = setting.split(".")
    own = {part: {name: str(tmp_path / "given")} | ({"perceptual": 1.0} if part == "losses" else {})}
    found = []
    for seed in (1, 1, 2):
        save(tmp_path / "given", seed)
        found.append(autoencoder_inputs(override(plan, {"autoencoder": own}, "there"), "autoencoder"))
    first, again, other = found
    assert first == again
    assert {key for key in first if first[key] != other[key]} == {what}
    plain = autoencoder_inputs(plan, "autoencoder")
    assert first.keys() - plain.keys() == {what}  # stages of plans without any stay finished


def test_override_changes_only_named_parts_of_a_plan(plan):
    changed = override(plan, {"seeds": [4], "entries": {"DSM": {"method": {"keep": [5]}}, "new": None}}, "part.yaml")
    assert changed.seeds == (4,)
    assert changed.entries == {"DSM": Entry(MethodChoice("dsm", block=4, keep=(5,))), "new": Entry()}
    assert differences(replace(changed, seeds=(0,), entries={}), replace(plan, entries={})) == {}
    with pytest.raises(ValueError, match=r"unknown key entries.DSM.metod; did you mean method"):
        override(plan, {"entries": {"DSM": {"metod": {}}}}, "part.yaml")


def test_compare_dry_run_prints_the_plan(plan, command, tmp_path):
    status, out, err = command(replace(plan, out=str(tmp_path / "new")), "--dry-run")
    assert status == 0
    assert override(Plan(), yaml.safe_load(out), "out") == resolved(replace(plan, out=str(tmp_path / "new")))
    assert "null" not in out
    assert all(name in err for name in plan.entries)
    assert "keep (" in err
    assert all(said in err for said in ("hours of one H200", "for GPUs of 80 GB, which is enough", "GB of latents"))
    assert "checked up to the first step" in err
    assert "3 trials" in err
    assert not (tmp_path / "new").exists()


def test_compare_dry_run_prices_what_will_run(plan, command, tmp_path):
    large = replace(PLANS["celeba256_f8d4"](), out=str(tmp_path / "new"), entries=plan.entries, seeds=(0, 1))
    large = replace(large, measuring=plan.measuring, autoencoder=replace(large.autoencoder, data=plan.autoencoder.data))
    large = replace(large, autoencoder=replace(large.autoencoder, losses=Losses()))
    latents = replace(plan.diffusion, steps=500_000, batch_size=256)
    large = replace(large, diffusion=latents)

    def hours(*arguments):
        status, _, err = command(large, "--dry-run", *arguments)
        assert status == 0, err
        (left,) = re.findall(r"left to run ([\d,.]+) h,", err)
        return float(left.replace(",", "")), err

    (whole, _), (part, err) = hours(), hours("--only", "DSM", "--seeds", 1)
    assert whole > 3 * part > 0
    assert "1 trials: 1 entries x 1 seeds; 0 of their stages are finished" in err
    assert "curriculum" not in err
    assert "e+" not in err
    assert "samples under 0.01 h" in err


@pytest.mark.slow
def test_compare_dry_run_leaves_out_finished_stages(plan, compared, command):
    status, _, err = command(plan, "--dry-run")
    assert status == 0, err
    assert "left to run 0 h," in err
    assert "disk for all that is left to run, roughly: 0 GB of latents, 0 GB of weights" in err
    assert "0 of their stages are finished" not in err


@pytest.mark.parametrize(
    ("value", "said"), [(2206.3, "2,206 h"), (47.77, "47.8 h"), (4e-5, "under 0.01 h"), (0, "0 h")]
)
def test_amount_is_written_as_people_read_it(value, said):
    assert amount(value, "h") == said


@pytest.mark.parametrize(
    ("n_bytes", "said"), [(50.1e9, "50 GB"), (3.446e9, "3.4 GB"), (9.96e9, "10 GB"), (1e6, "under 0.01 GB")]
)
def test_gigabytes_have_two_significant_digits(n_bytes, said):
    assert gigabytes(n_bytes) == said


def test_plans_contain_the_controls_that_the_paper_lacks():
    for name, make in plans.PLANS.items():
        if name in ("embedded", "cifar10") or "alignment" in name:
            continue
        choices = [entry.method for entry in make().entries.values()]
        assert len({c.kl_weight for c in choices if c.name == "sd_vae"}) >= 3
        for variant in ("paper", "scale_free"):
            deltas = [c.delta for c in choices if c.name == "esm" and c.variant == variant]
            assert sorted(deltas) == [0, 0.4, 0.8, 1.0, 1.2]
            assert deltas[0] == (1.2 if "f8d4" in name else 1.0)
        assert {"autoencoder", "dsm", "esm_dsm", "scale_equivariance", "eq_vae"} <= {c.name for c in choices}
        assert any(entry.curriculum.keep for entry in make().entries.values())


def test_alignment_entries_differ_in_one_part():
    entries = {name: entry.alignment for name, entry in plans.PLANS["cifar10_alignment"]().entries.items()}
    assert list(entries) == [
        *("none", "REPA", "REPA, convolution", "normalised", "normalised, std"),
        *("DoG band-pass", "DoG band-pass, std", "DoG high-pass", "DoG high-pass, std"),
    ]
    assert not entries["none"].weight
    assert {(c.weight, c.tap, c.encoder) for name, c in entries.items() if name != "none"} == {(0.5, 2, "gradients:4")}

    def changed(one, other):
        return {
            f.name for f in fields(entries[one]) if getattr(entries[one], f.name) != getattr(entries[other], f.name)
        }

    assert changed("REPA", "REPA, convolution") == {"projector"}
    for name in ("normalised", "DoG band-pass", "DoG high-pass"):
        assert "filter" in changed("REPA, convolution", name)
        assert changed(name, f"{name}, std") == {"std"}
    assert changed("DoG band-pass", "DoG high-pass") == {"inner"}
