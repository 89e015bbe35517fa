import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from spectrum_matching.analyze import analyze_all
from spectrum_matching.data import open_images
from spectrum_matching.measure import analyze
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.results import read_analyses, to_json
from spectrum_matching.subjects import TrainingData, choose_images, named_sources


class Codec(nn.Module):
    """Latents are block means of the images, times a scale; decoding repeats them."""

    def __init__(self, factor: int = 1, scale: float = 1.0, noise: float = 1e-6) -> None:
        super().__init__()
        self.model = nn.Identity()
        self.factor, self.channels, self.scaling_factor, self.shift_factor = factor, 3, 1.0, 0.0
        self.scale, self.noise = scale, noise

    def encode(self, images):
        mean = nn.functional.avg_pool2d(images, self.factor) * self.scale
        return SimpleNamespace(mean=mean, logvar=torch.full_like(mean, 2 * np.log(self.noise)))

    def decode(self, latents):
        return nn.functional.interpolate(latents / self.scale, scale_factor=self.factor)


def write_pictures(folder: Path, n: int, size: int = 48, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for i in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", 12)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first" / "export"
    Autoencoder.from_preset("tiny").save_pretrained(folder)
    return folder


def test_a_codec_that_changes_nothing_is_exact_aligned_and_unflattened(pictures):
    found = analyze(Codec(), open_images(str(pictures), 32, split="all"), name="identity")
    assert (found.psnr.value, found.psnr.standard_error) == (100.0, 0.0)
    assert found.ssim.value == pytest.approx(1, abs=1e-6)
    assert [point.keep for point in found.lowpass] == [15, 7, 5, 3]
    for point in found.lowpass:
        assert point.decoded == point.aligned
        assert point.decoded.value == 100.0
    removed = [point.removed.value for point in found.lowpass]
    assert removed[0] == 100.0
    assert removed == sorted(removed, reverse=True)
    match = found.view("mean").match("scale_free")
    assert (match.best_delta, match.best_delta_interval) == (0.0, (0.0, 0.0))
    assert match.best_gap == pytest.approx(0, abs=1e-9)
    assert match.latent == pytest.approx(match.target(0.0))
    assert found.view("mean").spectrum.power == pytest.approx(found.image_on_latent_grid.power)


def test_scale_shows_in_the_moments_and_not_in_the_scale_free_match(pictures):
    images = open_images(str(pictures), 32, split="all")
    one, hundred = (analyze(Codec(4, scale), images, name="means").view("mean") for scale in (1.0, 100.0))
    assert hundred.std == pytest.approx(100 * one.std, rel=1e-5)
    assert hundred.match("scale_free").best_delta == one.match("scale_free").best_delta
    assert hundred.match("paper").latent != pytest.approx(one.match("paper").latent, rel=0.01)


def test_samples_add_the_posteriors_noise(pictures):
    found = analyze(Codec(4, noise=0.5), open_images(str(pictures), 32, split="all"), name="noisy")
    mean, sample = found.view("mean"), found.view("sample")
    assert sample.std**2 - mean.std**2 == pytest.approx(0.25, rel=0.1)
    assert sample.spectrum.exponent.value < mean.spectrum.exponent.value


def test_batch_size_changes_nothing_but_rounding(pictures):
    images = open_images(str(pictures), 32, split="all")
    network = Autoencoder.from_preset("tiny")
    one, other = (replace(analyze(network, images, name="tiny", batch_size=size), pictures=()) for size in (5, 12))
    numbers = [json.loads(to_json([analysis]), parse_float=float) for analysis in (one, other)]
    assert flat(numbers[0]) == pytest.approx(flat(numbers[1]), rel=1e-4, abs=1e-6)


def flat(value) -> list[float]:
    if isinstance(value, dict | list):
        return [number for inner in (value.values() if isinstance(value, dict) else value) for number in flat(inner)]
    return [float(value)] if isinstance(value, int | float) else []


def test_json_holds_everything_and_the_same_seed_gives_the_same_bytes(pictures, exported, tmp_path):
    arguments = {"data": str(pictures), "size": 32, "num_images": 8, "seed": 3}
    first = analyze_all((str(exported),), out=tmp_path / "first", **arguments)
    analyze_all((str(exported),), out=tmp_path / "again", **arguments)
    assert read_analyses(tmp_path / "first" / "analysis.json") == first
    for name in ("analysis.json", "report.html"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["analysis.json", "report.html"]
    assert first[0].subject.name == "first"
    assert first[0].sample.n_images == 8
    assert first[0].latent_shape == (first[0].subject.channels, 8, 8)


def test_autoencoders_side_by_side_see_the_same_images(pictures, exported, tmp_path):
    a, b = analyze_all((f"a={exported}", f"b={exported}"), out=tmp_path, data=str(pictures), size=32)
    assert (a.subject.name, b.subject.name) == ("a", "b")
    assert (a.views, a.pictures, a.sample, a.lowpass) == (b.views, b.pictures, b.sample, b.lowpass)


def test_a_smaller_block_is_taken_and_said_where_the_grid_asks_for_it(pictures):
    found = analyze(Codec(4), open_images(str(pictures), 48, split="all"), name="twelve")
    assert found.lowpass_block == 4
    assert [point.keep for point in found.lowpass] == [7, 4, 3, 2]
    assert "blocks of 4: a 12 × 12 latent grid has no whole blocks of 8" in found.notes[0]


def test_an_odd_grid_has_no_low_pass_curve_and_says_why(pictures):
    found = analyze(Codec(4), open_images(str(pictures), 20, split="all"), name="five")
    assert found.lowpass == ()
    assert "No low-pass curve: a 5 × 5 latent grid" in found.notes[0]
    assert {picture.keep for picture in found.pictures} == {1}


def test_bad_files_are_named_and_left_out(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 4)
    whole = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")
    found = analyze(Codec(4), open_images(str(folder), 32, split="all"), name="some")
    assert found.sample.n_images == 3
    assert [line.split(":")[0] for line in sorted(found.sample.bad_files)] == ["001.png", "notes.txt"]


def test_outputs_that_are_not_finite_are_refused_by_the_autoencoders_name(pictures):
    codec = Codec(4)
    codec.decode = lambda latents: torch.full((len(latents), 3, 32, 32), torch.nan)
    with pytest.raises(ValueError, match="broken: its pictures hold values that are not finite"):
        analyze(codec, open_images(str(pictures), 32, split="all"), name="broken")


def test_latents_that_do_not_vary_are_refused(pictures):
    codec = Codec(4)
    codec.encode = lambda images: SimpleNamespace(mean=torch.ones(len(images), 3, 8, 8), logvar=torch.full((1,), -60.0))
    with pytest.raises(ValueError, match="dead: its latents do not vary"):
        analyze(codec, open_images(str(pictures), 32, split="all"), name="dead")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"autoencoders": ("nowhere/at/all/",)}, "nowhere/at/all"),
        ({"autoencoders": ()}, "no autoencoder was given"),
        ({"data": "no/such/folder"}, "no such file or folder"),
        ({"size": 33}, "size 33 is not a multiple of its factor 4; 32 is one"),
        ({"size": 4}, "leaves 1 x 1 latents, too small for a spectrum; take 12 or more"),
        ({"device": "teapot"}, "device 'teapot' cannot be used"),
        ({"num_images": 1}, "at least 2 images"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_what_was_there(change, message, pictures, exported, tmp_path):
    (tmp_path / "report.html").write_text("of before")
    arguments = {"autoencoders": (str(exported),), "data": str(pictures), "size": 32} | change
    with pytest.raises(ValueError, match=message) as caught:
        analyze_all(arguments.pop("autoencoders"), out=tmp_path, **arguments)
    assert "\n" not in str(caught.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of before"]


def test_an_out_that_is_a_file_is_refused_before_any_work(exported, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="choose another --out"):
        analyze_all((str(exported),), out=tmp_path / "out", size=32)


def test_names_are_the_ends_of_paths_that_tell_them_apart():
    assert named_sources(["runs/esm/export", "runs/dsm/export"]) == {"esm": "runs/esm/export", "dsm": "runs/dsm/export"}
    assert list(named_sources(["a/vae", "owner/model", "mine=b/c"])) == ["a", "model", "mine"]
    assert list(named_sources(["x/run/export", "y/run/export"])) == ["x/run", "y/run"]
    with pytest.raises(ValueError, match="same was given twice"):
        named_sources(["same=a", "same=b"])
    with pytest.raises(ValueError, match="run was given twice"):
        named_sources(["run", "run"])


def trained_on(source: Path | str, **changes) -> TrainingData:
    return TrainingData(**{"source": str(source), "held_out": 0.5, "seed": 7, "size": 32} | changes)


def test_what_training_held_out_is_measured_by_default(pictures):
    found = choose_images({"a": trained_on(f"{pictures}/../pictures"), "b": None}, str(pictures), size=None, split=None)
    assert found.split == "held_out"
    assert found.images.names == open_images(str(pictures), 32, split="held_out", held_out=0.5, seed=7).names
    assert found.notes[0].startswith("None of these images is among the training images of a")
    seen = choose_images({"a": trained_on(pictures)}, str(pictures), size=None, split="all")
    assert len(seen.images) == 12
    assert seen.notes == ("These images include the training images of a.",)


def test_other_data_are_measured_whole(pictures):
    found = choose_images({"a": trained_on("elsewhere")}, str(pictures), size=None, split=None)
    assert (found.split, len(found.images), found.images.size, found.notes) == ("all", 12, 32, ())


def test_embedded_images_are_the_held_out_ones():
    found = choose_images({"a": None}, "embedded", size=32, split=None)
    assert (found.split, len(found.images)) == ("held_out", 256)


def test_records_that_disagree_ask_for_a_decision(pictures):
    sizes = {"a": trained_on("x"), "b": trained_on("x", size=64)}
    with pytest.raises(ValueError, match=r"a 32, b 64.*--size"):
        choose_images(sizes, str(pictures), size=None, split=None)
    rules = {"a": trained_on(pictures), "b": trained_on(pictures, seed=8)}
    with pytest.raises(ValueError, match=r"held out different images.*--split all"):
        choose_images(rules, str(pictures), size=None, split=None)
    assert len(choose_images(rules, str(pictures), size=None, split="all").images) == 12


def test_the_trainers_record_beside_the_weights_is_followed(pictures, tmp_path):
    folder = tmp_path / "run" / "export"
    Autoencoder.from_preset("tiny").save_pretrained(folder)
    record = {"source": str(pictures), "held_out": 0.5, "seed": 7, "size": 32}
    (folder / "specmatch.json").write_text(json.dumps({"data": record}))
    (found,) = analyze_all((str(folder),), out=tmp_path / "out", data=str(pictures))
    assert (found.subject.name, found.sample.split, found.sample.size) == ("run", "held_out", 32)
    assert 2 <= found.sample.n_images < 12
    (folder / "specmatch.json").write_text('{"data": {}}')
    with pytest.raises(ValueError, match=r"specmatch.json is not what the trainer writes"):
        analyze_all((str(folder),), out=tmp_path / "out", data=str(pictures))
