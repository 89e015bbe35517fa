"""Names that are not UTF-8 or steer a terminal: good images work, bad ones are named, every file is written."""

import json
import os
import shutil

import pytest

from spectrum_matching.files.names import printable
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.scores import EVALUATIONS

BAD = {b"caf\xe9.png": r"caf\xe9.png", b"\x1b[31mred\n.png": r"\x1b[31mred\n.png"}
JUNK, CUT = BAD.values()
GOOD = (b"na\xefve.png", b"\x1b[0m.png")


@pytest.fixture(scope="module")
def images(image_folder, tmp_path_factory):
    """Eight images, two of them with foreign names, beside one with junk in place of a header and one cut short."""
    folder = tmp_path_factory.mktemp("foreign")
    sources = sorted(image_folder.iterdir())
    for source in sources[:6]:
        shutil.copy(source, folder)
    for name, source in zip(GOOD, sources[6:], strict=False):
        shutil.copy(source, os.path.join(os.fsencode(folder), name))
    for name, content in zip(BAD, (b"junk", sources[0].read_bytes()[:300]), strict=True):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(content)
    return folder


def require_clean(*texts):
    for text in texts:
        assert "\x1b[31m" not in text
        text.encode()


@pytest.mark.slow
def test_analyze_and_report_write_their_files(specmatch, images, small_autoencoder, tmp_path):
    options = ["--data", images, "--size", 32, "--num-images", 10, "--num-tests", 2, "--out", tmp_path]
    status, out, err = specmatch("analyze", small_autoencoder, *options)
    assert status == 0
    require_clean(out, err, (tmp_path / "analysis.json").read_text(), (tmp_path / "report.html").read_text())
    (analysis,) = ANALYSES.read(tmp_path / "analysis.json")
    assert analysis.sample.n_images == 8
    for name in BAD.values():
        assert f"warning: skipped {name}" in err
        assert any(file.startswith(name) for file in analysis.sample.bad_files)
    page = tmp_path / "again.html"
    assert specmatch("report", tmp_path, "--out", page)[0] == 0
    assert page.read_bytes() == (tmp_path / "report.html").read_bytes()


def test_cache_is_read_back(specmatch, images, small_autoencoder, tmp_path):
    status, out, err = specmatch("cache", small_autoencoder, "--data", images, "--size", 32, "--out", tmp_path)
    assert status == 0
    require_clean(out, err)
    latents = open_latents(tmp_path)
    assert len(latents) == 8
    # A record keeps the line break of a name: its JSON escapes it, and what is shown of it is one line.
    assert sorted(printable(file.name) for file in latents.info.bad) == sorted(BAD.values())
    assert all(name in err for name in BAD.values())


def test_train_ae_records_each_bad_file_once(specmatch, images, tmp_path):
    for steps in (2, 4):
        options = ["--data.path", images, "--data.size", 32, "--data.held-out", 0.01, "--batch-size", 8]
        status, out, err = specmatch("train-ae", "tiny_sd_vae", *options, "--steps", steps, "--out", tmp_path)
        assert status == 0, err
        require_clean(out, err)
        assert all((f"skipped {name}" in err) == (steps == 2) for name in BAD.values())
    lines = (tmp_path / "bad_files.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["name"] for line in lines) == sorted(BAD.values())


def test_evaluate_reads_and_names_them(specmatch, images, small_autoencoder, tmp_path):
    known = tmp_path / "known.safetensors"
    status, out, err = specmatch("evaluate", "reference", images, "--size", 32, "--out", known)
    assert status == 0
    require_clean(out, err)
    options = ["--data", images, "--size", 32, "--out", tmp_path]
    status, said, complaints = specmatch("evaluate", "reconstruction", small_autoencoder, *options)
    assert status == 0
    require_clean(said, complaints, (tmp_path / "scores.json").read_text())
    for text in (err, complaints):
        assert rf"warning: skipped {JUNK}: not an image" in text
        assert rf"warning: skipped {CUT}: truncated" in text
    (evaluation,) = EVALUATIONS.read(tmp_path / "scores.json")
    assert evaluation.protocol.n_images == 8
    assert any(warning.startswith("2 of 10 files could not be used, the first ") for warning in evaluation.warnings)


def test_an_error_names_the_file_in_one_line(specmatch, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9\n\x1b[31m")
    status, _, err = specmatch("evaluate", "reference", folder, "--size", 32, "--out", tmp_path / "x.safetensors")
    assert status == 2
    assert r"caf\xe9\n\x1b[31m" in err
    require_clean(err)
    assert err.count("\n") == 1
