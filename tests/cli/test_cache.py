"""The verb `cache`, run as a user runs it: killed, in two processes, on a full disk, over another tool's cache."""

import json
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from files_of_tests import write_labelled
from processes import start, start_two, statuses
from spectrum_matching.analysis.cached import open_cached
from spectrum_matching.cli.cache import cache_latents
from spectrum_matching.data.images import open_images
from spectrum_matching.latents.foreign.export import export_latents
from spectrum_matching.latents.foreign.pairing import pair
from spectrum_matching.latents.open_latents import open_latents
from spectrum_matching.latents.shards import read_index, verify_cache
from spectrum_matching.latents.write_cache import JobBatch, ShardRows
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.records.training_data import TRAINING, AutoencoderTraining, TrainingData

SHARDS = {"shard_images": 5, "batch_size": 2, "size": 32}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """One that takes mirrored images to nearly mirrored latents, as trained ones do."""
    folder, network = tmp_path_factory.mktemp("autoencoder"), Autoencoder.from_preset("tiny")
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = (weight.data + weight.data.flip(-1)) / 2
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def ours(autoencoder, image_folder, tmp_path_factory):
    """A cache with flips, of 24 images in 5 shards."""
    out = tmp_path_factory.mktemp("cache") / "ours"
    return cache_latents(autoencoder, data=str(image_folder), out=out, flips=True, dtype="float32", **SHARDS)


def files(folder):
    """What all files hold; of the index all but the versions, among which the checkout's state may change meanwhile."""
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    return content | {"index.json": json.loads(content["index.json"])["cache"] | {"versions": None}}


def test_cache_latents_holds_encoded_posteriors(ours, autoencoder, image_folder):
    latents, network = open_latents(ours), Autoencoder.from_pretrained(autoencoder)
    images = open_images(str(image_folder), 32, split="all")
    for item in (0, 7, 23):
        batch = latents.read_batch([(item, False), (item, True)])
        x = images[item].image
        with torch.no_grad():
            posterior = network.encode(torch.stack([x, x.flip(-1)]))
        torch.testing.assert_close(batch.mean, posterior.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.logvar, posterior.logvar, rtol=1e-4, atol=1e-5)
    index = read_index(ours)
    assert (len(latents), index.info.fingerprint, index.info.images) == (24, images.fingerprint, images.choice)
    assert [shard.n for shard in index.shards] == [5, 5, 5, 5, 4]
    verify_cache(ours)
    assert pair(*open_cached(f"latents:{ours}", None, None)).indices == tuple(range(24))


def test_cache_latents_leaves_finished_cache_alone(ours, autoencoder, image_folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in ours.iterdir()}
    cache_latents(autoencoder, data=str(image_folder), out=ours, flips=True, dtype="float32", **SHARDS)
    assert {path: path.stat().st_mtime_ns for path in ours.iterdir()} == before
    assert "is complete: 24 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "float16"}, "dtype is float32, not float16"),
        ({"flips": False}, "flips is True, not False"),
        ({"size": 48}, "image_size is 32, not 48"),
        ({"shard_images": 6}, "shard_images is 5, not 6"),
        ({"split": "held_out"}, "of other images \\(24 there, "),
    ],
)
def test_cache_latents_refuses_other_settings(ours, autoencoder, image_folder, change, said):
    before = files(ours)
    options = {"data": str(image_folder), "flips": True, "dtype": "float32", **SHARDS} | change
    with pytest.raises(ValueError, match=f"holds another cache: .*{said}"):
        cache_latents(autoencoder, out=ours, **options)
    assert files(ours) == before


def test_cache_latents_refuses_other_code_of_an_autoencoder(image_folder, tmp_path):
    code = """
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

class Scaled:
    def encode(self, images):
        return pixel_unshuffle(images, 4) * SCALE

    def decode(self, latents):
        return pixel_shuffle(latents, 4) / SCALE

make = Scaled
"""
    file, options = (
        tmp_path / "own.py",
        {"data": str(image_folder), "size": 32, "split": "all", "out": tmp_path / "lat"},
    )
    for scale in ("1.0", "0.25"):
        file.write_text(code.replace("SCALE", scale))
        if scale == "1.0":
            cache_latents(f"python:{file}:make", **options)
    with pytest.raises(ValueError, match="holds another cache: "):
        cache_latents(f"python:{file}:make", **options)


def test_cache_latents_rewrites_damaged_shards(ours, autoencoder, image_folder, tmp_path):
    copy = shutil.copytree(ours, tmp_path / "copy")
    (copy / "latents-00001.safetensors").write_bytes(b"")
    (copy / "latents-00003.safetensors").unlink()
    with pytest.raises(ValueError, match=r"latents-00001.safetensors is damaged.*the same `specmatch cache`"):
        open_latents(copy)
    cache_latents(autoencoder, data=str(image_folder), out=copy, flips=True, dtype="float32", **SHARDS)
    assert files(copy) == files(ours)


def test_cache_latents_leaves_held_out_images_out(autoencoder, image_folder, tmp_path):
    trained = shutil.copytree(autoencoder, tmp_path / "trained")
    data = TrainingData(str(image_folder), held_out=0.3, seed=1, size=32)
    TRAINING.write(trained / "specmatch.json", AutoencoderTraining("run", "", "all", ("", ""), {}, 4, data, "0", ""))
    out = cache_latents(str(trained), out=tmp_path / "out", shard_images=9)
    training = open_images(str(image_folder), 32, split="train", held_out=0.3, seed=1)
    assert read_index(out).info.fingerprint.digest == training.digest
    latents, images = open_cached(f"latents:{out}", None, None)
    assert images.names == training.names
    assert len(pair(latents, images).indices) == len(training) < 24


def test_cache_latents_needs_images(autoencoder, tmp_path):
    with pytest.raises(ValueError, match="name them by --data"):
        cache_latents(autoencoder, out=tmp_path / "out")


def test_cache_latents_leaves_bad_images_out(autoencoder, image_folder, tmp_path, capsys):
    folder = shutil.copytree(image_folder, tmp_path / "images")
    for name in ("03.png", "05.png", "06.png", "07.png", "08.png", "09.png"):  # of the second shard none is left
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
    out = cache_latents(autoencoder, data=str(folder), out=tmp_path / "out", **SHARDS)
    index = read_index(out)
    assert [shard.n for shard in index.shards] == [4, 0, 5, 5, 4]
    assert [bad.name for bad in index.info.bad] == ["03.png", *(f"0{i}.png" for i in range(5, 10))]
    latents = open_latents(out)
    assert latents.image_keys == [0, 1, 2, 4, *range(10, 24)]
    assert open_latents(out).read_batch([(4, False)]).mean[0].equal(latents[4].mean)
    err = capsys.readouterr().err
    assert "skipped 03.png: truncated" in err
    assert "18 images, 6 skipped" in err


def test_cache_latents_resumes_after_full_disk(ours, autoencoder, image_folder, tmp_path):
    resource = pytest.importorskip("resource")
    options = {"data": str(image_folder), "out": tmp_path / "out", "flips": True, "dtype": "float32", **SHARDS}
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (read_index(ours).shards[0].n_bytes - 1, before[1]))
    try:
        with pytest.raises(ValueError, match=r"cannot write .*latents-00000.safetensors: .*, then rerun"):
            cache_latents(autoencoder, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    cache_latents(autoencoder, **options)
    assert files(tmp_path / "out") == files(ours)


def test_cache_latents_checks_free_space_first(autoencoder, image_folder, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(ValueError, match=r"24 images take .* GiB in float16, and .* has 0.0 GiB left"):
        cache_latents(autoencoder, data=str(image_folder), out=tmp_path / "out", **SHARDS)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e5, "mean of one reaches 1e.05, which float16 does not hold; take bfloat16"), (torch.nan, "is not finite")],
)
def test_shard_rows_refuses_values_beyond_dtype(ours, value, said):
    index = read_index(ours)
    index = replace(index, dtype="float16", info=replace(index.info, channels=1, grid=(1, 1)))
    batch = JobBatch({"mean": torch.tensor([0.0, value]).view(2, 1, 1, 1)}, [0, 1], ["none", "one"], torch.zeros(2))
    with pytest.raises(ValueError, match=said):
        ShardRows(index).add(batch)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["repa", "mar", "lightningdit"])
def test_cache_latents_round_trip_through_other_layouts(autoencoder, tmp_path, layout, dtype):
    ours, theirs, again = (tmp_path / name for name in ("ours", "theirs", "again"))
    cache_latents(autoencoder, data=str(labelled(tmp_path / "images")), out=ours, flips=True, dtype=dtype, **SHARDS)
    export_latents(open_latents(ours), layout, theirs)
    cache_latents(f"latents:{theirs}", out=again, flips=layout != "repa", dtype=dtype, shard_images=4)
    one, other = open_latents(ours), open_latents(again)
    assert (other.n_classes, len(other), other.info.flips) == (3, 12, layout != "repa")
    for flip in {False, other.info.flips}:
        before, after = (latents.read_batch([(item, flip) for item in range(12)]) for latents in (one, other))
        assert torch.equal(before.labels, after.labels)
        if layout == "lightningdit":
            assert read_index(again).info.holds == "sample"
            assert ((after.mean - before.mean).abs() < 6 * (before.logvar / 2).exp() + 0.1).all()
        else:
            assert torch.equal(before.mean, after.mean)
            # A deviation of float32 knows its logarithm to 1e-7; all else is exact.
            torch.testing.assert_close(after.logvar, before.logvar, rtol=0, atol=1e-6 if layout == "repa" else 0)
    if layout != "lightningdit":
        assert other.space().std == pytest.approx(one.space().std, rel=1e-6)


def labelled(folder):
    """12 images in 3 classes."""
    from PIL import Image

    for i in range(12):
        path = folder / "abc"[i // 4] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = torch.randint(0, 256, (4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        Image.fromarray(colours.numpy()).resize((32, 32)).save(path)
    return folder


def test_cache_latents_takes_labels_for_a_setting(autoencoder, tmp_path):
    options = {"data": str(labelled(tmp_path / "images")), **SHARDS}
    for labels in (False, True):
        out = cache_latents(autoencoder, out=tmp_path / str(labels), labels=labels, **options)
        assert open_latents(out).classes == (("a", "b", "c") if labels else ())
        (out / "latents-00002.safetensors").write_bytes(b"")
        before = files(out)
        with pytest.raises(ValueError, match=f"holds another cache: labels is {labels}, not {not labels}"):
            cache_latents(autoencoder, out=out, labels=not labels, **options)
        assert files(out) == before
        cache_latents(autoencoder, out=out, labels=labels, **options)
    assert open_latents(out).labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    imported = cache_latents(f"latents:{out}", out=tmp_path / "imported", labels=False)
    assert (read_index(imported).info.classes, set(open_latents(imported).labels.tolist())) == ((), {-1})


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
def test_cache_latents_refuses_images_that_were_labelled_anew(autoencoder, tmp_path, monkeypatch, suffix):
    if suffix == "parquet":
        monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    images = tmp_path / f"images.{suffix}"

    def cache(of_images, out="out", **options):
        write_labelled(images, of_images)
        return cache_latents(autoencoder, data=str(images), out=tmp_path / out, **SHARDS, **options)

    first, other, named = ["a", "b", "c"] * 4, ["c", "a", "b"] * 4, ["a", "b", "d"] * 4
    out = cache(first)
    before = files(out)
    for changed in (other, named):
        with pytest.raises(ValueError, match="another cache: of the same images with other labels; choose another"):
            cache(changed)
    assert files(cache(first)) == before
    assert open_latents(out).labels.tolist() == [0, 1, 2] * 4
    # What takes no labels takes the same images for the same.
    unlabelled = files(cache(first, "unlabelled", labels=False))
    assert files(cache(other, "unlabelled", labels=False)) == unlabelled
    targets = [cache_latents("vision:gradients:8", beside=out) for _ in range(2)]
    assert open_latents(targets[0]).n_classes == 0


def test_cache_latents_exports_mar_by_image_names(autoencoder, tmp_path):
    images = labelled(tmp_path / "images")
    cache_latents(autoencoder, data=str(images), out=tmp_path / "ours", flips=True, **SHARDS)
    cache_latents(f"latents:{tmp_path / 'ours'}", out=tmp_path / "mar", export="mar")
    found = open_latents(tmp_path / "mar")
    assert pair(found, open_images(str(images), 32, split="all")).note == "by class folder and name"


@pytest.mark.parametrize(
    ("source", "change", "said"),
    [
        ("latents", {"data": "embedded"}, "is encoded already"),
        ("autoencoder", {"export": "mar"}, "cache .* first"),
        ("autoencoder", {"batch_size": 0}, "at least one image"),
        ("autoencoder", {"size": 30}, "multiple"),
        ("autoencoder", {"device": "nowhere"}, "; use cpu"),
    ],
)
def test_cache_latents_reports_errors_in_one_line(ours, autoencoder, image_folder, tmp_path, source, change, said):
    options = {"data": str(image_folder)} if source == "autoencoder" else {}
    with pytest.raises(ValueError, match=said) as caught:
        cache_latents(
            f"latents:{ours}" if source == "latents" else autoencoder, out=tmp_path / "out", **options | change
        )
    assert "\n" not in str(caught.value)


def caching(autoencoder, data, out):
    """The code that caches."""
    return f"""
        from pathlib import Path
        from spectrum_matching.cli.cache import cache_latents
        cache_latents({autoencoder!r}, data={str(data)!r}, out=Path({str(out)!r}), flips=True, **{SHARDS!r})
    """


def forked(autoencoder, data, out, kill_at=0):
    """Start caching in a process that kills itself at its `kill_at`-th flush to the disk."""
    return start(caching(autoencoder, data, out), kill_at)


@pytest.mark.slow
def test_cache_latents_resumes_after_kills(autoencoder, image_folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert set(statuses(forked(autoencoder, image_folder, whole))) == {0}
    # Two flushes of each file: while a shard is written, before it is noted, while the index is written.
    for kill_at, shards in ((3, 0), (9, 2), (11, 3), (11, 5)):
        assert set(statuses(forked(autoencoder, image_folder, killed, kill_at))) == {-signal.SIGKILL}
        assert len(list(killed.glob("latents-*.safetensors"))) == shards
        with pytest.raises(ValueError, match="is an unfinished cache"):
            open_latents(killed)
    assert set(statuses(forked(autoencoder, image_folder, killed))) == {0}
    assert files(killed) == files(whole)
    assert sorted(open_latents(killed).image_keys) == list(range(24))


@pytest.mark.slow
def test_cache_latents_two_processes_equal_one(autoencoder, image_folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert set(statuses(forked(autoencoder, image_folder, two, 7))) == {-signal.SIGKILL}  # one shard is there already
    both = start_two(caching(autoencoder, image_folder, two))
    assert set(statuses(*both, forked(autoencoder, image_folder, one))) == {0}
    assert files(two) == files(one)


def test_cache_latents_in_tiles_is_another_cache(specmatch, autoencoder, image_folder, tmp_path):
    arguments = "cache", autoencoder, "--data", image_folder, "--size", 72, "--out", tmp_path
    assert specmatch(*arguments, "--tiling")[0] == 0
    tiled, network = open_latents(tmp_path), Autoencoder.from_pretrained(autoencoder)
    assert tiled.info.tile == 64
    x = open_images(str(image_folder), 72, split="all")[0].image[None]
    with torch.no_grad():
        whole = network.encode(x).mean
        network.enable_tiling()
        in_tiles = network.encode(x).mean
    torch.testing.assert_close(tiled[0].mean[None], in_tiles, rtol=2e-3, atol=1e-3)  # of float16
    assert (in_tiles - whole).abs().max() > 0.01
    status, _, error = specmatch(*arguments)
    assert (status, "tile is 64, not None" in error) == (2, True)
    status, _, error = specmatch("cache", f"latents:{tmp_path}", "--tiling", "--out", tmp_path / "again")
    assert (status, "--tiling is for an autoencoder that encodes" in error) == (2, True)
