import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from spectrum_matching.cli import evaluate
from spectrum_matching.cli.evaluate import Reading, generation, reconstruction, reference
from spectrum_matching.evaluation.reference import load_reference
from spectrum_matching.files.manifest import sha256_of, write_manifest
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.scores import EVALUATIONS, Sampling, protocol_differences
from spectrum_matching.sampling.sample_record import SAMPLES, SampleRecord


class Quarters(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, (2, 1)).flatten(1)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "quarters.pt"
    torch.jit.trace(Quarters(), torch.zeros(2, 3, 32, 32)).save(path)
    return str(path)


@pytest.fixture
def known(image_folder, features, tmp_path):
    return reference(str(image_folder), out=tmp_path / "r.safetensors", size=32, reading=Reading(features))


def test_reference_of_reconstructions_scores_samples(image_folder, features, known, tmp_path, specmatch):
    Autoencoder.from_preset("tiny").save_pretrained(tmp_path / "vae")
    np.savez(tmp_path / "s.npz", images_of(image_folder))
    write_record(tmp_path / "s.json")
    out, words = tmp_path / "decoded.safetensors", ("--size", 32, "--features", features)
    assert (
        specmatch("evaluate", "reference", image_folder, "--out", out, *words, "--autoencoder", tmp_path / "vae")[0]
        == 0
    )
    assert load_reference(out).autoencoder == str(tmp_path / "vae")
    arguments = ("evaluate", "generation", tmp_path / "s.npz", "--reference", known, "--out", tmp_path / "scores")
    status, output, errors = specmatch(*arguments, "--features", features, "--reconstructions", out)
    assert status == 0, errors
    (found,) = EVALUATIONS.read(tmp_path / "scores" / "scores.json")
    assert found.value("fid_reconstructions") > 0
    assert "reconstructions" in output
    assert "confound" in output
    status, _, errors = specmatch(
        "evaluate", "reference", image_folder, "--out", out, "--size", 32, "--autoencoder", "x"
    )
    assert (status, "name an extractor by --features" in errors) == (2, True)


def images_of(folder, n=24):
    pictures = [Image.open(path).crop((4, 0, 44, 40)).resize((32, 32)) for path in sorted(folder.iterdir())]
    return np.stack([np.array(picture) for picture in pictures])[:n]


def test_reference_of_some_images_is_spread_over_all_classes(image_folder, tmp_path, capsys):
    for number, path in enumerate(sorted(image_folder.iterdir())):
        link = tmp_path / "classes" / f"{number // 6}" / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(path.read_bytes())
    known = reference(str(tmp_path / "classes"), out=tmp_path / "r.safetensors", size=32, num_images=8)
    statistics = load_reference(known)
    assert statistics.images == Coverage(8, 24, 4, 4)
    assert statistics.statistics.rows("labels").bincount().tolist() == [2, 2, 2, 2]
    np.savez(tmp_path / "good.npz", images_of(image_folder))
    (found,) = generation([str(tmp_path / "good.npz")], reference=known, out=tmp_path / "out")
    protocol = found.protocol
    assert (protocol.images, protocol.reference_images) == (Coverage(24, 24), Coverage(8, 24, 4, 4))
    assert (protocol.kept_images, protocol.kept_reference) == (Coverage(24, 24), Coverage(8, 8, 4, 4))
    assert "8 of 24 images, of 4 of 4 classes" in " ".join(capsys.readouterr().out.split())


def write_record(path, **changes):
    record = Sampling(
        *("d", "0" * 16, 9, True, "a", "1" * 16, "linear", "velocity", "euler", 50, 50),
        *(1.0, (0.0, 1.0), "none", 24, 0, "float32"),
    )
    folder, images = path.parent, path.with_suffix(".npz")
    is_folder = path.name == "samples.json"
    SAMPLES.write(path, SampleRecord(replace(record, **changes), None if is_folder else sha256_of(images)))
    if is_folder:
        write_manifest(folder)


def test_generation_scores_samples_side_by_side(image_folder, features, known, tmp_path, capsys):
    real = images_of(image_folder)
    np.savez(tmp_path / "good.npz", real)
    write_record(tmp_path / "good.json")
    (tmp_path / "bad").mkdir()
    for i, image in enumerate(255 - real):
        Image.fromarray(image).save(tmp_path / "bad" / f"{i}.png")
    write_record(tmp_path / "bad" / "samples.json", steps=250, n_images=99)
    sources = [str(tmp_path / "good.npz"), str(tmp_path / "bad")]
    found = generation(sources, reference=known, out=tmp_path / "out", reading=Reading(features))
    assert EVALUATIONS.read(tmp_path / "out" / "scores.json") == found
    assert [each.name for each in found] == ["good", "bad"]
    assert found[0].protocol.sampling.steps == 50
    assert found[0].value("fid") < found[1].value("fid") / 10
    assert any("is of 99 images, there are 24" in line for line in found[1].warnings)
    said = capsys.readouterr().out
    assert "not comparable steps: good 50, bad 250" in said
    assert "warning 24 images are few" in said
    assert "euler, 250 steps" in said


def test_generation_without_record_and_without_weights(image_folder, known, tmp_path):
    np.savez(tmp_path / "s.npz", images_of(image_folder))
    (found,) = generation([f"mine={tmp_path / 's.npz'}"], reference=known, out=tmp_path / "out")
    assert found.name == "mine"
    assert found.protocol.sampling is None
    assert any("no record beside the samples" in line for line in found.warnings)
    assert {key.partition("_")[0] for key in found.scores} == {"spectrum", "swd"}


def test_reference_reads_an_archive(image_folder, features, tmp_path):
    np.savez(tmp_path / "s.npz", images_of(image_folder))
    out = reference(str(tmp_path / "s.npz"), out=tmp_path / "r.safetensors", reading=Reading(features), num_images=20)
    (found,) = generation([str(tmp_path / "s.npz")], reference=out, out=tmp_path / "out", reading=Reading(features))
    assert found.protocol.n_reference == 20
    assert found.value("swd") < 0.2


def half_junk(image_folder, folder):
    """Three images and three files that are none, one of them a pipe, in folders that training would tell apart."""
    for name, source in zip(("train/a", "test/b.png", "c.png"), sorted(image_folder.iterdir()), strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "val.png").write_bytes(b"")
    os.mkfifo(folder / "pipe.png")
    return folder


def test_reference_takes_every_file_and_names_what_is_no_image(specmatch, image_folder, tmp_path):
    folder, out = half_junk(image_folder, tmp_path / "real"), tmp_path / "real.safetensors"
    status, _, said = specmatch("evaluate", "reference", folder, "--size", 32, "--out", out)
    assert status == 0, said
    for complaint in ("notes.txt: not an image", "val.png: not an image", "pipe.png: not a regular file"):
        assert said.count(f"warning: skipped {complaint}") == 1
    made = load_reference(out)
    assert (made.n_images, made.n_bad) == (3, 3)
    for split in ("train", "held_out"):  # as training would, which takes the part named train
        options = ("--size", 32, "--split", split, "--out", tmp_path / "part.safetensors")
        status, _, said = specmatch("evaluate", "reference", folder, *options)
        assert status == 2
        assert "is the only image and cannot be split" in said
    np.savez(tmp_path / "s.npz", images_of(image_folder, 4))
    (found,) = generation([str(tmp_path / "s.npz")], reference=out, out=tmp_path)
    assert any(line == f"reference {folder}: 3 of 6 files could not be used" for line in found.warnings)


def test_reference_takes_every_file_beside_a_table_without_images(image_folder, tmp_path):
    real, out = half_junk(image_folder, tmp_path / "real"), tmp_path / "real.safetensors"
    parquet.write_table(pa.table({"caption": ["a", "b"]}), real / "captions.parquet")
    made = load_reference(reference(str(real), out=out, size=32))
    assert (made.n_images, made.n_bad) == (3, 4)


def test_generation_refuses_a_pipe_in_the_place_of_samples_or_reference(specmatch, known, tmp_path):
    for name in ("s.npz", "r.safetensors", "r.npz"):
        (tmp_path / "x").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "x" / name)
    np.savez(tmp_path / "s.npz", np.zeros((2, 8, 8, 3), np.uint8))
    for samples, reference_file in (("x/s.npz", "r.safetensors"), ("s.npz", "x/r.safetensors"), ("s.npz", "x/r.npz")):
        options = ("--reference", tmp_path / reference_file, "--out", tmp_path / "out")
        status, _, said = specmatch("evaluate", "generation", tmp_path / samples, *options)
        assert (status, said.count("\n")) == (2, 1)
        assert "not a regular file, but a named pipe" in said or "no reference" in said


def test_reconstruction_scores_autoencoders_side_by_side(image_folder, features, tmp_path):
    for seed in (0, 1):
        Autoencoder.from_preset("tiny", seed).save_pretrained(tmp_path / f"ae{seed}")
    sources = [str(tmp_path / "ae0"), str(tmp_path / "ae1")]
    found = reconstruction(
        sources,
        data=str(image_folder),
        out=tmp_path / "out",
        size=32,
        reading=Reading(features),
        keep=(7,),
        num_images=16,
    )
    assert EVALUATIONS.read(tmp_path / "out" / "scores.json") == found
    assert found[0].protocol == found[1].protocol
    assert found[0].value("psnr") != found[1].value("psnr")
    assert {"rfid", "rfid_lowpass_7", "ssim", "swd"} <= found[0].scores.keys()


def test_evaluate_checks_first_that_out_is_writable(image_folder, known, tmp_path):
    (tmp_path / "file").write_text("")
    below, data, nowhere = tmp_path / "file" / "out", str(image_folder), str(tmp_path / "nowhere.pt")
    np.savez(tmp_path / "s.npz", images_of(image_folder))
    for call in (
        lambda: reference(data, out=below / "r.safetensors", size=32, reading=Reading(nowhere)),
        lambda: generation([str(tmp_path / "s.npz")], reference=known, out=below, reading=Reading(nowhere)),
        lambda: reconstruction([data], data=data, out=below, reading=Reading(nowhere)),
    ):
        with pytest.raises(ValueError, match=r"cannot write into .*choose another --out"):
            call()


def test_evaluate_saves_numbers_when_writing_fails(image_folder, known, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    np.savez(tmp_path / "s.npz", images_of(image_folder))
    score = evaluate.evaluate_generation

    def in_the_way(*arguments, **options):
        (tmp_path / "out" / "scores.json" / "in the way").mkdir(parents=True)
        return score(*arguments, **options)

    monkeypatch.setattr(evaluate, "evaluate_generation", in_the_way)
    with pytest.raises(ValueError, match=r"cannot write into .*out \(.*\); the results are in ") as caught:
        generation([f"mine={tmp_path / 's.npz'}"], reference=known, out=tmp_path / "out")
    (found,) = EVALUATIONS.read(Path(str(caught.value).rpartition(" in ")[2]) / "scores.json")
    assert found.name == "mine"
    assert "mine" in capsys.readouterr().out


def test_evaluate_reports_user_errors_in_one_line(image_folder, features, known, tmp_path):
    samples = tmp_path / "s.npz"
    np.savez(samples, images_of(image_folder, 4))
    data, out = str(image_folder), tmp_path / "x.safetensors"
    torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 3, 32, 32)).save(tmp_path / "flat.pt")
    cases = [
        (lambda: reference(data, out=tmp_path / "x.npz", size=32), r"expected the name of a file, X\.safetensors"),
        (lambda: reference(data, out=out), "give the side that they are resized to by --size"),
        (lambda: reference(data, out=out, size=32, num_images=1), "at least 2 images"),
        (lambda: generation([], reference=known, out=tmp_path), "no samples were given"),
        (
            lambda: generation(
                [str(samples)], reference=known, out=tmp_path, reading=Reading(str(tmp_path / "flat.pt"))
            ),
            r"was made by quarters\.pt \w{16}, but the images' features are of flat\.pt",
        ),
        (lambda: reconstruction([data], data=data, out=tmp_path, keep=(15,)), "each from 1 to 14"),
    ]
    for call, complaint in cases:
        with pytest.raises(ValueError, match=complaint) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_reconstruction_in_tiles_is_another_protocol(image_folder, tmp_path):
    Autoencoder.from_preset("tiny").save_pretrained(tmp_path / "ae")
    asked = {"data": str(image_folder), "size": 72, "num_images": 4}
    whole, tiled = (
        reconstruction([str(tmp_path / "ae")], out=tmp_path / str(tiling), tiling=tiling, **asked)[0]
        for tiling in (False, True)
    )
    assert (whole.protocol.tile, tiled.protocol.tile) == (None, 64)
    assert protocol_differences([whole, tiled]) == ["tile: ae None, ae 64"]
