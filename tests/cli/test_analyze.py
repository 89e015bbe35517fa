import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.analysis.measure import tile_notes
from spectrum_matching.cli import analyze as command_analyze
from spectrum_matching.cli.analyze import analyze_all
from spectrum_matching.data import open_images
from spectrum_matching.metrics.latents import affinity
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.analysis import ANALYSES
from spectrum_matching.records.coverage import Coverage
from spectrum_matching.records.training_data import TRAINING, AutoencoderTraining, TrainingData


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve images in two class folders."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    generator = np.random.default_rng(0)
    for i in range(12):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        path = folder / "ab"[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((48, 48), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first" / "export"
    Autoencoder.from_preset("tiny").save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_analyze_all_is_deterministic_and_writes_everything(pictures, exported, tmp_path):
    arguments = {"data": str(pictures), "size": 32, "num_images": 8, "num_tests": 4, "seed": 3, "labels": True}
    first = analyze_all((str(exported),), out=tmp_path / "first", **arguments)
    analyze_all((str(exported),), out=tmp_path / "again", **arguments)
    assert ANALYSES.read(tmp_path / "first" / "analysis.json") == first
    for name in ("analysis.json", "report.html"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["analysis.json", "report.html"]
    assert first[0].subject.name == "first"
    assert (first[0].sample.n_images, first[0].decoding.n_tests) == (8, 4)
    assert first[0].latent_shape == (first[0].subject.channels, 8, 8)
    assert first[0].measurement("lnc").value is not None


@pytest.mark.slow
def test_analyze_all_uses_the_same_images_for_all(pictures, exported, tmp_path):
    a, b = analyze_all((f"a={exported}", f"b={exported}"), out=tmp_path, data=str(pictures), size=32, num_tests=4)
    assert (a.subject.name, b.subject.name) == ("a", "b")
    assert (a.views, a.pictures, a.sample, a.decoding) == (b.views, b.pictures, b.sample, b.decoding)


@pytest.mark.slow
def test_analyze_all_keeps_its_numbers_where_the_page_cannot_be_written(
    specmatch, pictures, exported, tmp_path, monkeypatch
):
    answer_lines = command_analyze.answer_lines

    def in_the_way(analyses):
        (tmp_path / "report.html" / "taken").mkdir(parents=True)
        return answer_lines(analyses)

    monkeypatch.setattr(command_analyze, "answer_lines", in_the_way)
    options = ("--data", pictures, "--size", 32, "--num-images", 4, "--num-tests", 2, "--out", tmp_path)
    status, printed, error = specmatch("analyze", exported, *options)
    assert status == 2
    assert "cannot write into" in error.splitlines()[-1]
    assert "PSNR" in printed
    assert ANALYSES.read(tmp_path / "analysis.json")[0].sample.n_images == 4


def colours():
    return lambda images: images.mean((2, 3))


COLOURS = f"python:{__file__}:colours"


class Cells(torch.nn.Module):
    """Means of 4 x 4 pixels, and these pixels back."""

    multiple = 4

    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images, 4)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents, scale_factor=4)


def cells():
    return Cells()


@pytest.mark.slow
def test_analyze_all_draws_latents_with_a_band_without_power(specmatch, tmp_path):
    generator = np.random.default_rng(0)
    for i in range(8):
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        path = tmp_path / "pictures" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        coarse.resize((32, 32), Image.Resampling.NEAREST).save(path)
    source, cached = f"python:{__file__}:cells", f"latents:{tmp_path / 'latents'}"
    common = ("--data", tmp_path / "pictures", "--size", 32, "--out")
    assert specmatch("cache", source, *common, tmp_path / "latents", "--dtype", "float32")[0] == 0
    for subject, options, out in ((source, common, tmp_path / "a"), (cached, common[-1:], tmp_path / "b")):
        status, _, error = specmatch("analyze", subject, *options, out, "--num-tests", 2)
        assert status == 0, error
        channels = ANALYSES.read(out / "analysis.json")[0].view("mean").channels
        assert {channel.state for channel in channels} == {"live"}
        assert all(min(channel.power) < 1e-14 * max(channel.power) for channel in channels)  # 0, but for rounding
        assert (out / "report.html").read_text().count("<title>channel 0\n") > 0


def test_analyses_read_refuses_another_format(tmp_path):
    path = tmp_path / "analysis.json"
    path.write_text(json.dumps({"format": "specmatch-analysis-1", "analyses": []}))
    with pytest.raises(ValueError, match=r"format 'specmatch-analysis-1'.*; run `specmatch analyze` again"):
        ANALYSES.read(path)


@pytest.mark.slow
def test_analyze_all_fail_on_exits_1_after_writing(pictures, exported, tmp_path, capsys):
    arguments = {"data": str(pictures), "size": 32, "num_images": 4, "num_tests": 2}
    with pytest.raises(SystemExit) as caught:
        analyze_all((str(exported),), out=tmp_path, **arguments, fail_on=("psnr < 100", "psnr < 1"))
    assert caught.value.code == 1
    assert (tmp_path / "report.html").is_file()
    complaint = capsys.readouterr().err
    assert "failed first: psnr < 100 (it is " in complaint
    assert "psnr < 1 (" not in complaint
    analyze_all((str(exported),), out=tmp_path, **arguments, fail_on=("psnr < 1",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"autoencoders": ("nowhere/at/all/",)}, "nowhere/at/all"),
        ({"autoencoders": ()}, "no autoencoder was given"),
        ({"autoencoders": ("latents:nowhere",)}, "no such folder: nowhere"),
        ({"autoencoders": ("python:nowhere.py:f",)}, "no file nowhere.py"),
        ({"data": "no/such/folder"}, "no such file or folder"),
        ({"size": 33}, "size 33 is not a multiple of 4, as it must be; 32 is one"),
        ({"size": 4}, "size 4 is too small for spectra or image metrics; take 12 or more"),
        ({"device": "teapot"}, "device 'teapot' cannot be used"),
        ({"num_images": 1}, "at least 2 images"),
        ({"num_tests": 1}, "2 tests"),
        ({"fail_on": ("psnr",)}, "'psnr' is not a condition"),
        ({"fail_on": ("psnr < 1e999",)}, "'psnr < 1e999': 1e999 is too large for a number"),
        ({"fail_on": ("pnsr < 3",)}, "nothing measured is called 'pnsr'; the nearest are psnr"),
        ({"masks": Path("nowhere")}, "--masks nowhere is not a folder"),
        ({"features": "nowhere.pt"}, "no feature extractor 'nowhere.pt'"),
        ({"reference": "photographs"}, r"a reference needs features.*\(--features\)"),
        ({"reference": "nowhere", "features": COLOURS}, "no such file or folder: nowhere"),
        ({"reference": "latents:nowhere", "features": COLOURS}, "no such folder: nowhere"),
        ({"reference": "embedded", "num_reference": 1, "features": COLOURS}, "1 reference latents are too few"),
        ({"encoder": "nowhere"}, "nowhere is not a folder with config.json"),
        ({"encoder": "shufflenet"}, "shufflenet needs weights"),
        ({"encoder": "gradients:7"}, "multiple of 7|cells? of 7"),
    ],
)
def test_analyze_all_refuses_bad_input_in_one_line(change, message, pictures, exported, tmp_path):
    before = '<meta name="generator" content="specmatch">of before'
    (tmp_path / "report.html").write_text(before)
    arguments = {"autoencoders": (str(exported),), "data": str(pictures), "size": 32} | change
    with pytest.raises(ValueError, match=message) as caught:
        analyze_all(arguments.pop("autoencoders"), out=tmp_path, **arguments)
    assert "\n" not in str(caught.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == [before]


@pytest.mark.slow
def test_analyze_all_measures_generation_without_training(specmatch, pictures, exported, tmp_path):
    common = ("--data", pictures, "--size", 32)
    assert specmatch("cache", exported, *common, "--out", tmp_path / "latents", "--dtype", "float32")[0] == 0
    options = ("--features", COLOURS, "--num-tests", 2, "--fail-on", "interpolation_fid > 1e9")
    for reference in (pictures, f"latents:{tmp_path / 'latents'}"):
        out = tmp_path / str(reference).partition(":")[0].strip("/").replace("/", "_")
        status, _, error = specmatch("analyze", exported, *common, *options, "--reference", reference, "--out", out)
        assert status == 0, error
        (analysis,) = ANALYSES.read(out / "analysis.json")
        assert analysis.generative.coverage == Coverage(12, 12, 2, 2)
        assert "holds images that are measured" in analysis.notes[-1]
        assert "interpolation_fid_unit" in (out / "report.html").read_text()
    cached = ("analyze", f"latents:{tmp_path / 'latents'}", *options, "--reference", pictures, "--out", tmp_path / "c")
    status, _, error = specmatch(*cached)
    assert (status, "cached latents have no decoder" in error) == (2, True)


def test_analyze_all_refuses_out_that_is_a_file(exported, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="choose another --out"):
        analyze_all((str(exported),), out=tmp_path / "out", size=32)


@pytest.mark.slow
def test_analyze_all_follows_the_training_record(pictures, tmp_path):
    folder = tmp_path / "run" / "export"
    Autoencoder.from_preset("tiny").save_pretrained(folder)
    data = TrainingData(str(pictures), held_out=0.5, seed=7, size=32)
    TRAINING.write(folder / "specmatch.json", AutoencoderTraining("run", "", "all", ("", ""), {}, 4, data, "0", ""))
    (analysis,) = analyze_all((str(folder),), out=tmp_path / "out", data=str(pictures), num_tests=2)
    assert (analysis.subject.name, analysis.sample.split, analysis.sample.size) == ("run", "held_out", 32)
    assert 2 <= analysis.sample.n_images < 12
    (folder / "specmatch.json").write_text('{"data": {}}')
    with pytest.raises(ValueError, match=r"specmatch.json is not a specmatch-autoencoder-2 file"):
        analyze_all((str(folder),), out=tmp_path / "out", data=str(pictures))


@pytest.mark.slow
def test_analyze_all_agrees_on_autoencoder_and_its_cache(pictures, exported, tmp_path, capsys, monkeypatch):
    images = open_images(str(pictures), 32, split="all")
    network = Autoencoder.from_pretrained(exported).eval()
    for i, name in enumerate(images.names):
        path = tmp_path / "mar" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            posterior = network.encode(images[i].image[None])
        moments = torch.cat([posterior.mean, posterior.logvar], 1)[0].numpy()
        np.savez(path, moments=moments, moments_flip=moments)
    sources = (str(exported), f"cached=latents:{tmp_path / 'mar'}")
    monkeypatch.setattr(affinity, "MIN_IMAGES", 9)
    # Of 9 the cache has those 9 that the autoencoder was measured on.
    options = {"size": 32, "num_images": 9, "num_tests": 2, "encoder": "gradients"}
    whole, cached = analyze_all(sources, out=tmp_path / "out", data=str(pictures), **options)
    assert whole.measurement("affinity_gap").value > 0
    assert cached.sample.coverage == whole.sample.coverage == Coverage(9, 12, 2, 2)
    assert "Measured on 9 of 12 images, of 2 of 2 classes, from" in " ".join(capsys.readouterr().out.split())
    assert {picture.image for picture in cached.latent_pictures} == {picture.image for picture in whole.pictures}
    assert cached.subject.kind == "cached latents (mar)"
    assert cached.decoding is None
    for variant in ("scale_free", "paper"):
        one, other = (analysis.view("mean").match(variant) for analysis in (cached, whole))
        assert one.best_delta == other.best_delta
        assert one.latent == pytest.approx(other.latent, rel=1e-4)
    assert cached.image_on_latent_grid == whole.image_on_latent_grid
    of_cached, of_whole = cached.view("mean").measurements, whole.view("mean").measurements
    assert list(of_cached) == list(of_whole)
    for key, other in of_whole.items():
        assert of_cached[key].value == (None if other.value is None else pytest.approx(other.value, rel=1e-4)), key
    (alone,) = analyze_all((f"latents:{tmp_path / 'mar'}",), out=tmp_path / "alone", num_images=9, encoder="gradients")
    assert alone.measurement("affinity_gap") is None
    assert "the gap to a vision encoder cannot be measured on cached latents." in alone.notes
    assert alone.image is None
    assert alone.view("mean").matches == ()
    assert alone.measurement("sec_25") == cached.measurement("sec_25")
    assert any("Measured without images" in note for note in alone.notes)


def test_analyze_all_refuses_an_atlas_of_other_sizes_before_any_work(pictures, exported, tmp_path):
    with pytest.raises(ValueError, match="--beside atlas: its latent spaces were measured on images of"):
        analyze_all((str(exported),), out=tmp_path / "out", data=str(pictures), size=32, beside="atlas")


def test_analyze_all_refuses_cached_latents_beside_the_atlas_before_any_work(latent_cache, tmp_path):
    with pytest.raises(ValueError, match=r"--beside atlas: its latent spaces were measured on images of .* have 32"):
        analyze_all((f"latents:{latent_cache}",), out=tmp_path / "out", beside="atlas")
    assert not (tmp_path / "out" / "analysis.json").exists()
    assert not (tmp_path / "out" / "analysis.json").exists()


def test_analyze_all_in_tiles_says_so(pictures, exported, tmp_path):
    asked = {"data": str(pictures), "size": 72, "num_images": 2, "num_tests": 2, "batch_size": 2}
    whole, tiled = (
        analyze_all((str(exported),), out=tmp_path / str(tiling), tiling=tiling, **asked)[0] for tiling in (False, True)
    )
    told = [[note for note in each.notes if "tiles of 64 pixels" in note] for each in (whole, tiled)]
    assert [len(notes) for notes in told] == [0, 1]
    assert whole.measurement("psnr").value != tiled.measurement("psnr").value
    assert "tiles of 64 pixels" in (tmp_path / "True" / "report.html").read_text()


def test_tile_notes_say_nothing_of_tiles_that_hold_the_image():
    assert (tile_notes(None, 64), tile_notes(64, 64), len(tile_notes(64, 65))) == ((), (), 1)
