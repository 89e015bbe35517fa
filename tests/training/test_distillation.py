import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny

from spectrum_matching.data.images import open_images
from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.methods.method import reconstruct
from spectrum_matching.methods.zoo import autoencoder
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.training_data import AutoencoderTraining, TrainingData
from spectrum_matching.training import autoencoder_config
from spectrum_matching.training.distillation import Taught, Teacher, measure_distillation, new_student, open_teacher
from spectrum_matching.training.model_card import Exported, Quality, model_card

COMMAND = "train-ae"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a teacher whose raw latents are far from unit scale."""
    folder = tmp_path_factory.mktemp("teacher") / "kl"
    Autoencoder.from_preset("tiny", seed=3).save_pretrained(folder, LatentSpace("shift and scale", (0.1,), (0.25,)))
    return str(folder)


@pytest.fixture
def teacher(source):
    return open_teacher(autoencoder_config.Distillation(teacher=source), CPU)


@pytest.fixture
def run(small_run, source):
    distillation = autoencoder_config.Distillation(teacher=source, width=8, bins=3)
    optimizer = replace(small_run.optimizer, lr=3e-3, ema=0.0)
    return replace(small_run, distillation=distillation, optimizer=optimizer, sample_posterior=False)


def test_taught_encodes_for_itself_and_decodes_what_the_teacher_encodes(teacher, generator):
    student = new_student(teacher, 8, seed=0)
    assert (student.factor, student.channels) == (teacher.autoencoder.factor, teacher.autoencoder.channels)
    images = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    raw = teacher.autoencoder.encode(images)
    for sample in (False, True):
        state = generator.get_state()
        result = reconstruct(Taught(student, teacher, sample), autoencoder(), images, generator)
        generator.set_state(state)
        chosen = raw.sample(generator) if sample else raw.mean
        assert torch.equal(result.latents, (chosen - 0.1) / 0.25)
        assert torch.equal(result.posterior.mean, student.encode(images).mean)
        assert torch.equal(result.output, student.decode(result.latents))
        assert not result.latents.requires_grad
    result.output.sum().backward()
    assert all(p.grad is None for p in student.model.encoder.parameters())
    assert all(p.grad is not None for p in student.model.decoder.parameters())


def test_measure_distillation_of_a_perfect_student_and_of_none(teacher, image_folder):
    images = open_images(str(image_folder), 32, split="all")
    raw = Teacher(teacher.autoencoder, LatentSpace())
    found = measure_distillation(teacher.autoencoder, raw, images, 3)
    assert (found["n_images"], found["n_total"], found["r2"]) == (24, 24, 1)
    assert found["r2_by_band"] == [1, 1, 1]
    assert found["psnr"] == found["psnr_of_teacher_latents"] == found["psnr_of_teacher"]
    student = new_student(teacher, 8, seed=0)
    with torch.no_grad():
        last = student.model.encoder.layers[-1]
        last.weight.zero_()
        last.bias.zero_()
    found = measure_distillation(student, teacher, images, 3)
    latents = torch.cat([teacher.latents(images[i][0][None]) for i in range(len(images))]).double()
    variance = latents.var(dim=(0, 2, 3), correction=0).mean()
    assert found["r2"] == pytest.approx(float(1 - latents.square().mean() / variance))
    assert found["r2_by_band"] == pytest.approx([0, 0, 0], abs=1e-6)


def test_train_ae_distils_into_diffusers_tiny_autoencoder(run, command, source):
    run = replace(run, steps=30)
    status, out, err = command(run)
    assert status == 0, err
    log = [json.loads(line) for line in (Path(run.out) / "log.jsonl").read_text().splitlines()]
    assert {"l1", "latents", "bands"} <= log[0].keys()
    assert sum(line["latents"] for line in log[-5:]) < 0.8 * sum(line["latents"] for line in log[:5])
    model = AutoencoderTiny.from_pretrained(out.strip())
    assert (model.config.scaling_factor, model.config.shift_factor) == (1.0, 0.0)
    metrics = json.loads((Path(run.out) / "metrics.json").read_text())
    held_out = open_images(run.data.path, 32, split="held_out", held_out=run.data.held_out, seed=run.seed)
    teacher = open_teacher(run.distillation, CPU)
    assert measure_distillation(Autoencoder(model), teacher, held_out, 3) == metrics["distillation"]
    assert metrics["distillation"]["r2"] < 1
    card = (Path(out.strip()) / "README.md").read_text()
    assert "`AutoencoderTiny`, f4 with 8 latent channels, distilled from kl. Its latents approximate" in card
    assert f"the teacher's own {metrics['distillation']['psnr_of_teacher']:.2f} dB" in card

    goes_on = replace(run, out=f"{run.out} again", steps=1, network=autoencoder_config.Network(pretrained=out.strip()))
    assert command(goes_on)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method.name", "esm"), "method esm has a loss on the latents (esm), which are the teacher's"),
        (("--network.train", "decoder"), "distillation trains encoder and decoder"),
        (("--distillation.teacher", "/no/such"), "/no/such is not a folder"),
        (("--distillation.teacher", "None"), "distillation.teacher is not given"),
        (("--data.size", 34), "data.size is 34, and the teacher takes multiples of 4"),
    ],
)
def test_train_ae_refuses_what_cannot_be_distilled(run, command, arguments, said):
    status, out, err = command(run, *arguments, "--dry-run")
    assert (status, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert not Path(run.out).exists()


def test_train_ae_refuses_a_student_of_another_shape(run, command, tmp_path):
    AutoencoderTiny(latent_channels=4).save_pretrained(tmp_path / "other")
    run = replace(run, network=autoencoder_config.Network(pretrained=str(tmp_path / "other")))
    assert "the student has factor 8 and 4 channels, its teacher 4 and 8" in command(run, "--dry-run")[2]


def test_train_ae_refuses_a_student_that_declares_a_scale(run, command, source):
    run = replace(run, network=autoencoder_config.Network(pretrained=source))
    message = f"{source} declares a scale of its latents (shift and scale), and a student learns latents at unit scale"
    assert message in command(run, "--dry-run")[2]


def test_card_says_whether_a_students_latents_are_raw(run, teacher, image_folder):
    images = open_images(str(image_folder), 32, split="all")
    student, quality = new_student(teacher, 8, seed=0), Quality(24, 24, 20.0, 0.5)
    data = TrainingData("photos", 0.1, 0, 32)
    origin = AutoencoderTraining("run", "big/vae", "student", ("", ""), {"name": "autoencoder"}, 1, data, "0", "")
    raw = Teacher(teacher.autoencoder, LatentSpace())  # as of one whose scale packs positions
    for each, words in ((teacher, ("unit scale of big/vae", "at unit scale")), (raw, ("raw ones of", "are, raw"))):
        distilled = measure_distillation(student, each, images, 3)
        card = model_card(run, Exported(student, origin, autoencoder(), LatentSpace(), None, quality, distilled))
        assert all(word in card for word in words)
