"""The verdict on the product's own exports and caches, and the commands that it suggests."""

import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.analysis.verdict import MATCHED, with_findings
from spectrum_matching.data import open_images
from spectrum_matching.latents.statistics import measure_latent_space
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.measurement import Measurement
from spectrum_matching.records.training_data import TRAINING, AutoencoderTraining, TrainingData

SIZE, N, MEASURED = 32, 24, 8


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(N):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def noisy(photographs, tmp_path_factory):
    """An export of ours whose posterior noise has several times the variance of the means."""
    autoencoder, folder = Autoencoder.from_preset("tiny"), tmp_path_factory.mktemp("vae") / "noisy export"
    channels = autoencoder.channels
    with torch.no_grad():
        autoencoder.model.quant_conv.bias[channels:] = 1.0
        autoencoder.model.quant_conv.weight[channels:] = 0.0
    space = measure_latent_space(autoencoder, open_images(str(photographs), SIZE, split="all"), torch.device("cpu"))
    autoencoder.save_pretrained(folder, space)
    return folder


@pytest.fixture(scope="module")
def analyses(noisy, photographs, tmp_path_factory):
    """The export and its cache, analyzed by the command."""
    from spectrum_matching.cli.main import main

    out = tmp_path_factory.mktemp("out")
    main(["cache", str(noisy), "--data", str(photographs), "--size", str(SIZE), "--out", str(out / "latents")])
    subjects = [f"my vae={noisy}", f"cached=latents:{out / 'latents'}"]
    options = {"data": photographs, "size": SIZE, "num-images": MEASURED, "num-tests": 4, "out": out / "analysis"}
    main(["analyze", *subjects, *(str(word) for name, value in options.items() for word in (f"--{name}", value))])
    return ANALYSES.read(out / "analysis" / "analysis.json")


def test_analyze_finds_own_exports_and_caches_well_scaled(analyses):
    for analysis in analyses:
        assert float(analysis.measurement("posterior_noise")) > 0.5  # the means alone are far from unit scale
        assert analysis.view("mean").std * analysis.diffused.std**-1 < 0.8
        assert "scale-matches" in {finding.key for finding in analysis.findings}


def suggested(analysis):
    """Every command that some verdict on this autoencoder suggests, by the key of its finding."""
    steep, flat, wide = (MATCHED[0] - 0.2, MATCHED[0] - 0.1), (MATCHED[1] + 0.1, MATCHED[1] + 0.2), (0.0, 2.0)
    gaps = [Measurement(2.0, 0.01), Measurement(5.0, 0.01), Measurement(2.0, 2.0)]
    scales = [Measurement(1.5, 0.01), Measurement(1.15, 0.1), Measurement(1.5, 0.01)]
    point, *rest = [p for p in analysis.decoding.lowpass if p.keep < analysis.decoding.diagonals]
    commands = {}
    for interval, gap, std in zip((steep, flat, wide), gaps, scales, strict=True):
        views = tuple(
            replace(view, matches=tuple(replace(m, best_delta_interval=interval) for m in view.matches))
            for view in analysis.views
        )
        decoding = replace(analysis.decoding, lowpass=(replace(point, gap=gap), *rest))
        normalisation = replace(analysis.normalisation, std=std)
        changed = replace(analysis, views=views, decoding=decoding, normalisation=normalisation)
        commands |= {finding.key: finding.command for finding in with_findings(changed).findings if finding.command}
    return commands


def test_commands_of_the_verdict_run(analyses, noisy, specmatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = suggested(analyses[0])
    assert commands.keys() >= {
        *("spectrum-steeper", "spectrum-flatter", "spectrum-undecided", "noisy-posterior"),
        *("decoder-partly-aligned", "decoder-misaligned", "decoder-undecided", "scale-wrong", "scale-undecided"),
    }
    for key, command in commands.items():
        program, verb, *words = shlex.split(command)
        assert program == "specmatch"
        assert any(str(noisy) in word for word in words), key
        is_training = verb == "train-ae"
        status, output, errors = specmatch(verb, *words, *(["--dry-run"] if is_training else []))
        assert status == 0, (command, errors)
        if is_training:
            method = {"noisy-posterior": "autoencoder"}.get(key, "dsm" if key.startswith("decoder") else "esm")
            assert f"name: {method}\n" in output.partition("method:")[2]


def test_commands_of_the_verdict_repeat_the_analysis_on_more_images(analyses):
    commands = suggested(analyses[0])
    words = shlex.split(commands["spectrum-undecided"])
    assert words[words.index("--num-images") + 1] == str(min(4 * MEASURED, N))
    assert words[words.index("--split") + 1] == "all"
    words = shlex.split(commands["decoder-undecided"])
    assert words[words.index("--num-tests") + 1] == words[words.index("--num-images") + 1] == "16"
    everything = replace(analyses[0].sample, coverage=replace(analyses[0].sample.coverage, n_images=N))
    assert "spectrum-undecided" not in suggested(replace(analyses[0], sample=everything))


def test_commands_of_the_verdict_on_cached_latents_name_the_cache(analyses, specmatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    view = analyses[1].diffused
    matches = tuple(replace(match, best_delta_interval=(0.0, 2.0)) for match in view.matches)
    undecided = with_findings(replace(analyses[1], views=(analyses[1].view("mean"), replace(view, matches=matches))))
    (command,) = [finding.command for finding in undecided.findings if finding.key == "spectrum-undecided"]
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("specmatch", "analyze")
    status, output, errors = specmatch(verb, *words)
    assert status == 0, (command, errors)
    assert f"{N} of {N} images" in output


def test_commands_of_the_verdict_go_on_from_the_method_of_the_training(analyses, noisy, photographs, tmp_path):
    images = TrainingData(str(photographs), held_out=0.25, seed=5, size=SIZE)

    def methods_after(name):
        trained = tmp_path / name
        shutil.copytree(noisy, trained)
        record = AutoencoderTraining("run", "", "all", ("", ""), {"name": name}, 4, images, "0", "")
        TRAINING.write(trained / "specmatch.json", record)
        commands = suggested(replace(analyses[0], subject=replace(analyses[0].subject, source=str(trained))))
        words = [
            shlex.split(commands.get(key, "")) for key in ("spectrum-steeper", "decoder-misaligned", "noisy-posterior")
        ]
        return tuple(each[2] if each else "" for each in words)

    assert methods_after("sd_vae") == ("finetune256_esm", "finetune256_dsm", "finetune256_autoencoder")
    assert methods_after("dsm") == ("finetune256_esm_dsm", "", "")
    assert methods_after("esm") == ("tiny_sit", "finetune256_esm_dsm", "")  # a gain, the autoencoder as it is
    assert methods_after("esm_dsm") == ("tiny_sit", "", "")


def test_commands_of_the_verdict_are_for_the_machine_of_the_analysis(analyses):
    on_gpu = replace(analyses[0], provenance=replace(analyses[0].provenance, device="cuda"))
    for analysis, is_short in ((analyses[0], True), (on_gpu, False)):
        command = suggested(analysis)["spectrum-steeper"]
        assert ("--precision fp32 --steps 1000" in command) == is_short
    elsewhere = replace(on_gpu.sample, source="https://example.org/photographs-{000..009}.tar")
    assert elsewhere.source in shlex.split(suggested(replace(on_gpu, sample=elsewhere))["spectrum-steeper"])


def test_verdict_on_what_no_command_can_name_has_none(analyses):
    nameless = replace(analyses[0], subject=replace(analyses[0].subject, source=""))
    assert not suggested(nameless)


def test_verdict_on_what_cannot_be_fine_tuned_suggests_a_gain(analyses, noisy, specmatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign = suggested(replace(analyses[0], subject=replace(analyses[0].subject, kind="Mine")))
    assert not any("train-ae" in command for command in foreign.values())
    match = analyses[0].diffused.match("scale_free")
    assert "spectrum-steeper" in foreign
    for key in {"spectrum-steeper", "spectrum-flatter"} & foreign.keys():  # not against what high frequencies say
        program, verb, *words = shlex.split(foreign[key])
        assert (program, verb) == ("specmatch", "train-diffusion")
        assert float(words[words.index("--source.flatten") + 1]) == pytest.approx(1 - match.best_delta, abs=0.005)
        status, output, errors = specmatch(verb, *words, "--dry-run")
        assert status == 0, (foreign[key], errors)
        assert f"autoencoder: {noisy}" in output


def test_commands_of_the_verdict_train_on_what_the_autoencoder_was_trained_on(
    analyses, noisy, photographs, specmatch, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    images, trained = tmp_path / "other photographs", tmp_path / "trained"
    shutil.copytree(photographs, images)
    shutil.copytree(noisy, trained)
    data = TrainingData(str(images), held_out=0.25, seed=5, size=SIZE)
    TRAINING.write(trained / "specmatch.json", AutoencoderTraining("run", "", "all", ("", ""), {}, 4, data, "0", ""))
    subject = replace(analyses[0].subject, source=str(trained))
    for kind, verb in (("AutoencoderKL", "train-ae"), ("Mine", "train-diffusion")):
        command = suggested(replace(analyses[0], subject=replace(subject, kind=kind)))["spectrum-steeper"]
        program, given, *words = shlex.split(command)
        assert (program, given) == ("specmatch", verb)
        assert str(images) in words
        assert str(photographs) not in words
        status, output, errors = specmatch(verb, *words, "--dry-run")
        assert status == 0, (command, errors)
        assert "held_out: 0.25" in output
        assert "seed: 5\n" in output
