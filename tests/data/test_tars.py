"""Tars of images: real ones, on the disk and in fsspec's store in memory."""

import logging
import re
import shutil

import pytest
import torch

from files_of_tests import greys, png, tar_of, write_labelled
from spectrum_matching.data import stores
from spectrum_matching.data.decode import BadImageError, Frame
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import PositionedBatches, image_batches
from spectrum_matching.data.sources import open_source
from spectrum_matching.data.stores import StoreError
from spectrum_matching.data.tars import TarSource
from spectrum_matching.files.kept import kept_folder

SAMPLES = {
    "./a.png": png(1),
    "./a.cls": b"7\n",
    "./b.PNG": png(2, (9, 8)),
    "./b.cls": b"3",
    "./b.txt": b"a caption",
    "./.hidden.png": png(9),
    "./c.png": png(3),
}


def opened(source, labels=True):
    found = open_source(str(source), labels=labels)
    assert isinstance(found, TarSource)
    return found


def test_tar_source_reads_each_image_at_its_place(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar_of(SAMPLES))
    for path in (tmp_path / "x.tar", tmp_path):
        found = opened(path)
        assert list(found.names) == ["x.tar/a.png", "x.tar/b.PNG", "x.tar/c.png"]
        assert greys(found) == [1, 2, 3]
        assert (found.classes, list(found.labels)) == (("3", "7"), [1, 0, -1])
        assert found.frame(1) == Frame(9, 8)
        assert found.left_out == ("1 other member (b.txt)",)
        sizes = [len(SAMPLES[name]) for name in ("./a.png", "./b.PNG", "./c.png")]
        assert [found.content(item).n_bytes for item in range(3)] == sizes
    assert opened(tmp_path, labels=False).classes == ()


def test_tar_source_takes_one_image_of_a_sample_unless_no_name_is_plain(tmp_path):
    names = ("d/1.jpg.png", "d/1.seg.png", "d/1.png", "e/v1.0.png", "e/v1.1.png")
    (tmp_path / "x.tar").write_bytes(tar_of({name: png(i) for i, name in enumerate(names)}))
    assert list(opened(tmp_path).names) == ["x.tar/d/1.png", "x.tar/e/v1.0.png", "x.tar/e/v1.1.png"]


def test_headers_are_read_once_and_again_where_the_tar_or_what_was_kept_has_changed(tmp_path, caplog):
    def n_read():
        caplog.clear()
        found = opened(tmp_path)
        return greys(found), sum("reading the headers" in message for message in caplog.messages)

    caplog.set_level(logging.INFO)
    (tmp_path / "x.tar").write_bytes(tar_of({"a.png": png(1)}))
    assert n_read() == ([1], 1)
    assert n_read() == ([1], 0)
    (tmp_path / "x.tar").write_bytes(tar_of({"a.png": png(4), "b.png": png(5)}))
    assert n_read() == ([4, 5], 1)
    for kept in kept_folder("tars").glob("*.json"):
        kept.write_text("{}")
    assert n_read() == ([4, 5], 1)
    shutil.rmtree(kept_folder("tars"))
    kept_folder("tars").write_text("no folder")  # nothing can be kept there
    assert n_read() == ([4, 5], 1)
    assert n_read() == ([4, 5], 1)


def test_tar_source_of_a_store_is_that_of_a_folder(tmp_path, store):
    whole = tar_of(SAMPLES)
    for number in range(2):
        (tmp_path / f"x-{number}.tar").write_bytes(whole)
        store.pipe(f"/bucket/set/x-{number}.tar", whole)
    local = opened(tmp_path)
    for url in ("memory://bucket/set", "memory://bucket/set/", "memory://bucket/set/x-*.tar"):
        found = opened(url)
        assert (found.names, found.labels, greys(found)) == (local.names, local.labels, greys(local)), url
    assert list(opened("memory://bucket/set/x-1.tar").names) == [name for name in local.names if "x-1" in name]
    digest = open_images("memory://bucket/set", 8).digest
    assert open_images("memory://bucket/set", 8).digest == digest
    store.pipe("/bucket/set/x-1.tar", tar_of(SAMPLES | {"./d.png": png(4)}))
    assert open_images("memory://bucket/set", 8).digest != digest


def test_tars_are_trained_on_in_the_order_of_a_folder(tmp_path, image_folder, store):
    paths = sorted(image_folder.iterdir())
    (tmp_path / "x.tar").write_bytes(tar_of({path.name: path.read_bytes() for path in paths}))
    store.pipe("/bucket/x.tar", (tmp_path / "x.tar").read_bytes())
    places = (tmp_path, image_folder, "memory://bucket/x.tar")
    sets = [open_images(str(place), 32, split="all", crop="random", flip=True) for place in places]
    # The first rank of two, resumed at step 1, with a process that reads.
    order = PositionedBatches(len(paths), 4, rank=0, world=2, start=1, end=3)
    ours, theirs, stored = (list(image_batches(each, order, n)) for each, n in zip(sets, (1, 0, 1), strict=True))
    for a, b, c in zip(ours, theirs, stored, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(c.images, b.images)


def fail(store, monkeypatch, method, error, times=1_000):
    """Let a method of the store, of which every thread has an instance, raise an error the first times it is called."""
    kind, left = type(store), [times]
    right = getattr(kind, method)

    def call(self, *arguments, **options):
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return right(self, *arguments, **options)

    monkeypatch.setattr(kind, method, call)


LOST = "memory://bucket/x.tar cannot be read from its store (connection reset): check the connection"


@pytest.mark.parametrize("error", [OSError("connection reset"), RuntimeError("connection reset")])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_store_that_does_not_answer_makes_no_image_bad(store, monkeypatch, workers, error):
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    store.pipe("/bucket/x.tar", tar_of({f"{i}.png": png(i) for i in range(4)}))
    images = open_images("memory://bucket/x.tar", 8, split="all")
    order = PositionedBatches(4, 2, end=2)
    with monkeypatch.context() as patched:
        fail(store, patched, "cat_file", error, times=2)
        assert [len(batch.images) for batch in image_batches(images, order) if not batch.bad] == [2, 2]
    with monkeypatch.context() as patched:
        fail(store, patched, "cat_file", error)
        with pytest.raises(ValueError, match=re.escape(LOST)) as caught:
            list(image_batches(images, order, workers))
        assert "\n" not in str(caught.value)
    store.pipe("/bucket/x.tar", b"")  # bad content, and the store has answered
    with pytest.raises(ValueError, match=r"no image can be read \(.*it ends \d+ bytes early"):
        list(image_batches(images, order, workers))


def test_a_store_that_does_not_answer_makes_no_tar_bad(store, monkeypatch):
    for number in range(2):
        store.pipe(f"/bucket/x-{number}.tar", tar_of(SAMPLES))
    fail(store, monkeypatch, "open", OSError("connection reset"))
    with pytest.raises(StoreError, match=r"x-.\.tar cannot be read from its store \(connection reset\)"):
        open_source("memory://bucket/x-*.tar")
    fail(store, monkeypatch, "open", FileNotFoundError(2, "No such file"))
    with pytest.raises(ValueError, match=r"x-0.tar: it is not there"):
        open_source("memory://bucket/x-*.tar")


def test_fingerprints_of_tars_tell_bytes_and_not_places(tmp_path):
    content = tar_of({"a.png": png(1), "b.png": png(2)})
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.tar").write_bytes(content)
    (tmp_path / "three" / "x.tar").write_bytes(content.replace(png(2), png(3)))
    one, two, three = (open_images(str(tmp_path / name), 8, split="all").digest for name in ("one", "two", "three"))
    assert one == two != three


def test_tars_of_training_are_opened_and_others_are_named(tmp_path):
    for name in ("in1k-train-00.tar", "in1k-train-01.tar", "in1k-val-00.tar"):
        (tmp_path / name).write_bytes(tar_of({"a.png": png(1)}))
    found = opened(tmp_path)
    assert list(found.names) == ["in1k-train-00.tar/a.png", "in1k-train-01.tar/a.png"]
    assert found.left_out == ("1 tar of another part (in1k-val-00.tar)",)
    (tmp_path / "other.tar").write_bytes(tar_of({"a.png": png(1)}))
    (tmp_path / "in1k-val-00.tar").unlink()
    with pytest.raises(ValueError, match=r"holds several tars: .*in1k-train-00.tar, .*other.tar; give one of them"):
        open_source(str(tmp_path))


def test_image_files_are_opened_and_a_tar_beside_them_is_left_aside(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "all.tar").write_bytes(tar_of({"a.png": png(1)}))
    found = open_source(str(tmp_path))
    assert (list(found.names), found.left_out) == (["a.png"], ("1 tar (all.tar)",))


def test_damaged_tars_are_named(tmp_path):
    whole = tar_of({"a.png": png(1), "b.png": png(2), "c.png": png(3)})
    second = whole.index(b"b.png")
    damaged = {
        "x0.tar": whole,
        "x1.tar": whole[: second + 600],
        "x2.tar": b"no tar at all" * 100,
        "x3.tar": whole[:second] + b"\xff" * 300 + whole[second + 300 :],
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    found = opened(tmp_path)
    assert list(found.names) == ["x0.tar/a.png", "x0.tar/b.png", "x0.tar/c.png"]
    assert [bad.name for bad in found.bad] == ["x1.tar", "x2.tar", "x3.tar"]
    assert all(bad.reason.startswith("cannot be read as an uncompressed tar (") for bad in found.bad)
    (tmp_path / "x0.tar").write_bytes(whole[: second + 600])  # after it was opened
    with pytest.raises(BadImageError, match="ends"):
        found.read(2)
    assert found.content(2).n_bytes == -1


def test_open_source_of_tars_reports_errors_in_one_line(tmp_path, store):
    (tmp_path / "x.tar").write_bytes(tar_of({"a.txt": b"text"}))
    (tmp_path / "x.tar.gz").write_bytes(b"")
    store.pipe("/bucket/a.png", png(1))
    expected = {
        str(tmp_path / "x.tar"): r"x.tar holds no images \(1 other member \(a.txt\)\)",
        str(tmp_path / "x.tar.gz"): "neither a folder nor .*; a compressed tar is to be unpacked first",
        "memory://bucket/none.tar": r"memory://bucket/none.tar holds no images \(none.tar: it is not there",
        "memory://nothing": "memory://nothing: nothing of this name is there",
        "memory://bucket": "memory://bucket holds no .parquet and no .tar file: of stores, these are read",
        "nonsense://bucket": "nonsense://bucket cannot be opened: .*nonsense",
    }
    for source, message in expected.items():
        with pytest.raises(ValueError, match=message) as caught:
            open_source(source)
        assert "\n" not in str(caught.value)


def test_classes_are_numbers_where_all_of_all_tars_are(tmp_path):
    write_labelled(tmp_path / "a-0.tar", ["10", "9", "007"])
    assert (opened(tmp_path).classes, opened(tmp_path).labels) == (("7", "9", "10"), [2, 1, 0])
    write_labelled(tmp_path / "a-1.tar", ["A310", "747"])
    found = opened(tmp_path)
    assert (found.classes, found.labels) == (("007", "10", "747", "9", "A310"), [1, 3, 0, 4, 2])
