"""Tables of images in fsspec's store in memory, beside the same tables on the disk."""

import io
import logging
import multiprocessing
import pickle
import re
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice

import pytest
import torch

from files_of_tests import greys, png, tar_of
from spectrum_matching.data import order, row_groups, stores
from spectrum_matching.data.decode import BadImageError, Frame
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import PositionedBatches, batches_at, image_batches
from spectrum_matching.data.row_groups import N_HELD, N_LANES, StoredTables
from spectrum_matching.data.sources import open_source
from spectrum_matching.data.stores import StoreError
from spectrum_matching.files.kept import kept_folder

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("datasets")


@pytest.fixture
def requests(store, monkeypatch):
    """The ranges of bytes that the store was asked for: path, start, end."""
    asked = []
    right = type(store).cat_file

    def call(self, path, start=None, end=None, **options):
        asked.append((path, start, end))
        return right(self, path, start=start, end=end, **options)

    monkeypatch.setattr(type(store), "cat_file", call)
    return asked


def table_of(greys, rows_of_group=2, **columns):
    """The bytes of a table of images, and perhaps other columns, as other tools write them."""
    file = io.BytesIO()
    images = [{"bytes": png(grey), "path": None} for grey in greys]
    parquet.write_table(pyarrow.table({"image": images, **columns}), file, row_group_size=rows_of_group)
    return file.getvalue()


def test_stored_tables_are_those_of_a_folder(tmp_path, store):
    for number in range(2):
        content = table_of(range(5 * number, 5 * number + 5), label=[2, 1, -1, 2, None])
        (tmp_path / f"x-{number}.parquet").write_bytes(content)
        store.pipe(f"/bucket/set/x-{number}.parquet", content)
    local = open_source(str(tmp_path))
    for url in ("memory://bucket/set", "memory://bucket/set/", "memory://bucket/set/x-*.parquet"):
        found = open_source(url)
        assert isinstance(found, StoredTables)
        assert (list(found.names), found.classes, found.labels) == (list(local.names), local.classes, local.labels)
        assert greys(found) == greys(local) == list(range(10))
        assert found.groups == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
        assert found.frame(3) == Frame(8, 8, 1)
    one = open_source("memory://bucket/set/x-1.parquet", labels=False)
    assert (greys(one), one.classes, set(one.labels)) == ([5, 6, 7, 8, 9], (), {-1})


def test_stored_tables_name_classes_as_their_features_do(tmp_path, store):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])})
    rows = {"image": [{"bytes": png(grey), "path": None} for grey in (0, 9, 250)], "label": [0, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "x.parquet")
    store.pipe("/bucket/x.parquet", (tmp_path / "x.parquet").read_bytes())
    for _ in range(2):  # read, then kept
        found = open_source("memory://bucket/x.parquet")
        assert (found.classes, list(found.labels)) == (("dark", "light"), [0, 0, 1])
    assert len(list(kept_folder("tables").glob("*.json"))) == 1


def test_footers_are_read_once_and_again_where_a_table_has_changed(store, requests, caplog):
    caplog.set_level(logging.INFO, "spectrum_matching")

    def n_read():
        caplog.clear()
        requests.clear()
        names = open_source("memory://bucket/x.parquet", labels=False).names
        return len(names), len(requests) > 0, sum("once" in text for text in caplog.messages)

    store.pipe("/bucket/x.parquet", table_of([1, 2, 3]))
    assert n_read() == (3, True, 1)
    assert n_read() == (3, False, 0)
    store.pipe("/bucket/x.parquet", table_of([1, 2]))
    assert n_read() == (2, True, 1)


def test_fingerprints_tell_tables_that_changed(store):
    store.pipe("/bucket/x.parquet", table_of([1, 2, 3]))
    digest = open_images("memory://bucket/x.parquet", 8).digest
    assert open_images("memory://bucket/x.parquet", 8).digest == digest
    store.pipe("/bucket/x.parquet", table_of([1, 2, 4]))
    assert open_images("memory://bucket/x.parquet", 8).digest != digest


def test_tables_beside_tars_and_tables_without_images(store):
    store.pipe("/bucket/set/x-0.parquet", table_of([1, 2]))
    store.pipe("/bucket/set/x-1.tar", b"")
    found = open_source("memory://bucket/set")
    assert (greys(found), found.left_out) == ([1, 2], ("1 tar (x-1.tar)",))
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"caption": ["none"]}), file)
    store.pipe("/bucket/captions.parquet", file.getvalue())
    with pytest.raises(ValueError, match=r"holds no images \(1 table without images \(captions.parquet\)\)"):
        open_source("memory://bucket/captions.parquet")


def test_tars_beside_tables_without_images(store):
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"caption": ["none"]}), file)
    for name in ("meta", "captions"):
        store.pipe(f"/bucket/set/{name}.parquet", file.getvalue())
    store.pipe("/bucket/set/broken.parquet", b"PAR1")
    store.pipe("/bucket/set/x-0.tar", tar_of({"a.png": png(7)}))
    found = open_source("memory://bucket/set")
    assert (greys(found), [bad.name for bad in found.bad]) == ([7], ["broken.parquet"])
    assert found.left_out == ("2 tables without images (captions.parquet, meta.parquet)",)
    store.pipe("/bucket/set/train.parquet", table_of([1]))  # a table of images goes before them
    found = open_source("memory://bucket/set")
    assert (greys(found), len(found.left_out)) == ([1], 2)


def test_a_folder_may_be_named_as_a_table(store):
    store.pipe("/bucket/train.parquet/part-0.parquet", table_of([1]))
    store.pipe("/bucket/train.parquet/part-1.parquet", table_of([2]))
    assert greys(open_source("memory://bucket/train.parquet")) == [1, 2]


def test_the_training_part_of_tables_in_a_store_is_taken(store):
    for part, greys_of_it in (("train", [1, 2]), ("test", [3])):
        store.pipe(f"/bucket/set/{part}-00000-of-00001.parquet", table_of(greys_of_it))
    found = open_source("memory://bucket/set")
    assert (greys(found), found.part) == ([1, 2], "train")
    assert found.left_out == ("1 table of another part (test-00000-of-00001.parquet)",)


def many(store, n_groups=3 * N_LANES, rows_of_group=4):
    """Images in many groups of rows; each has its own grey, or pair of greys."""
    n = n_groups * rows_of_group
    store.pipe("/bucket/x.parquet", table_of([i % 251 for i in range(n)], rows_of_group))
    return open_images("memory://bucket/x.parquet", 8, split="all")


def test_training_reads_each_group_about_once_an_epoch_and_each_image_once(store, requests):
    images = many(store)
    n, batch_size = len(images), 16
    n_groups = max(images.groups) + 1
    assert n_groups > N_HELD  # so that not all of them are held
    epoch = PositionedBatches(n, batch_size, end=n // batch_size, groups=images.groups)
    items = [index for batch in epoch for index, _ in batch]
    assert sorted(items) == list(range(n))
    requests.clear()
    assert [index for batch in image_batches(images, epoch) for index in batch.indices] == items
    assert len(requests) <= n_groups + N_LANES + 2  # one that lies across two lanes may be read twice; the footer

    def groups_of_8_batches(order):
        return len({images.groups[index] for batch in islice(order, 8) for index, _ in batch})

    assert groups_of_8_batches(epoch) <= 2 * N_LANES < groups_of_8_batches(PositionedBatches(n, batch_size))


def test_ranks_read_groups_of_their_own(store):
    images = many(store)
    n, batch_size, world = len(images), 64, 4
    options = {"end": n // batch_size, "groups": images.groups}
    whole = list(PositionedBatches(n, batch_size, 3, **options))
    shares = [list(PositionedBatches(n, batch_size, 3, rank, world, **options)) for rank in range(world)]
    assert [list(chain(*(share[step] for share in shares))) for step in range(len(whole))] == whole
    groups = [{images.groups[index] for batch in share for index, _ in batch} for share in shares]
    # Each has a quarter, and perhaps the groups at the two ends of its lanes.
    assert all(len(of_rank) <= (max(images.groups) + 1) / world + 2 for of_rank in groups)


@pytest.mark.parametrize("n", [1, 5, 31, 33, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 40])
def test_an_order_by_groups_holds_every_item_once_an_epoch(n, batch_size):
    groups = [item // 3 for item in range(n)]
    steps = -(-3 * n // batch_size)
    keys = list(chain(*PositionedBatches(n, batch_size, 1, end=steps, groups=groups)))
    for epoch in range(3):
        assert sorted(keys[epoch * n : (epoch + 1) * n]) == [(item, epoch) for item in range(n)]
    assert list(chain(*PositionedBatches(n, batch_size, 1, start=1, end=steps, groups=groups))) == keys[batch_size:]


def test_an_order_by_groups_changes_from_epoch_to_epoch_and_with_the_seed():
    groups = [item // 4 for item in range(400)]

    def first(seed, epoch):
        return list(chain(*PositionedBatches(400, 20, seed, start=20 * epoch, end=20 * epoch + 20, groups=groups)))

    orders = [[index for index, _ in first(seed, epoch)] for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


def test_positioned_batches_refuse_groups_of_another_number():
    with pytest.raises(ValueError, match="there are 3 images and groups of 2: expected as many"):
        PositionedBatches(3, 1, groups=[0, 0])


def test_spread_items_takes_few_groups(store, requests):
    images = many(store)
    requests.clear()
    chosen = order.spread_items(images, 10)
    assert len(set(chosen)) == 10
    assert chosen == sorted(chosen) == order.spread_items(images, 10)
    assert order.spread_items(images, None) == order.spread_items(images, 10_000) == list(range(len(images)))
    assert [len(batch.images) for batch in batches_at(images, 4, chosen)] == [4, 4, 2]
    assert len(requests) <= 12


@pytest.mark.parametrize(("n", "n_groups"), [(5000, 500), (1000, 256), (100, 100), (1, 1)])
def test_spread_in_groups_is_of_as_few_groups_as_may_stand_for_all(n, n_groups):
    groups = [item // 10 for item in range(10_000)]
    chosen = order.spread_in_groups(groups, 10_000, n)
    assert len(set(chosen)) == n
    taken = sorted({groups[item] for item in chosen})
    assert len(taken) == n_groups
    assert all(abs(group - 1000 / n_groups * (place + 0.5)) < 1000 / n_groups for place, group in enumerate(taken))


def test_threads_and_processes_read_each_group_once(store, requests, monkeypatch):
    images = many(store, n_groups=4, rows_of_group=16)
    requests.clear()
    rows = images.__getitems__(list(range(64)))  # by 16 threads
    assert [row.item for row in rows] == list(range(64))
    assert len(requests) - 2 <= 4  # and the footer
    copied = pickle.loads(pickle.dumps(images))
    assert torch.equal(copied[5].image, images[5].image)
    monkeypatch.setattr(order.os, "cpu_count", lambda: 8)
    assert order._bounded(8, images) == 1


def test_workers_read_as_the_trainer_does(store):
    images = many(store, n_groups=8)
    keys = PositionedBatches(len(images), 8, end=4, groups=images.groups)
    if multiprocessing.get_start_method() != "fork":
        pytest.skip("the store in memory is not that of another process")
    for a, b in zip(image_batches(images, keys), image_batches(images, keys, 2), strict=True):
        assert torch.equal(a.images, b.images)


LOST = "memory://bucket/x.parquet cannot be read from its store (connection reset): check the connection"


def test_a_store_that_does_not_answer_makes_no_row_bad(store, monkeypatch):
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    store.pipe("/bucket/x.parquet", table_of(range(4)))
    images = open_images("memory://bucket/x.parquet", 8, split="all")
    kind, left = type(store), [2]
    right = kind.cat_file

    def call(self, *arguments, **options):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("connection reset")
        return right(self, *arguments, **options)

    monkeypatch.setattr(kind, "cat_file", call)
    assert not images[0].bad
    left[0] = 1_000
    with pytest.raises(StoreError, match=re.escape(LOST)) as caught:
        images[2]
    assert "\n" not in str(caught.value)
    shutil.rmtree(kept_folder("tables"))
    with pytest.raises(StoreError, match=re.escape(LOST)):
        open_source("memory://bucket/x.parquet")


def test_damaged_tables_are_bad_and_the_others_are_read(store):
    store.pipe("/bucket/x-0.parquet", table_of([1, 2]))
    store.pipe("/bucket/x-1.parquet", table_of([3])[:-9])
    found = open_source("memory://bucket/x-*.parquet")
    assert greys(found) == [1, 2]
    assert [bad.name for bad in found.bad] == ["x-1.parquet"]
    assert found.bad[0].reason.startswith("cannot be read as parquet (")
    whole = table_of([1, 2, 3])
    store.pipe("/bucket/y.parquet", whole[:8] + bytes(200) + whole[208:])
    found = open_source("memory://bucket/y.parquet")
    with pytest.raises(BadImageError, match="its row group cannot be read"):
        found.read(0)
    assert found.read(2).getpixel((0, 0)) == (3, 3, 3)


def test_a_damaged_row_group_is_read_once(store, requests):
    whole = table_of(range(100), 50)
    start = whole.index(b"PNG")
    store.pipe("/bucket/x.parquet", whole[: start - 8] + bytes(400) + whole[start + 392 :])
    images = open_images("memory://bucket/x.parquet", 8, split="all")
    requests.clear()
    row = images[0]
    assert row.item == 0
    assert len(row.bad) == 50
    assert len({bad.reason for bad in row.bad}) == 1
    assert len(requests) <= 4  # the footer, and each group once


def test_damaged_footers_and_odd_columns_are_named(store):
    store.pipe("/bucket/x-0.parquet", table_of([1, 2]))
    whole = table_of([3])
    store.pipe("/bucket/x-1.parquet", whole[:-60] + bytes(40) + whole[-20:])
    odd = pyarrow.array([[("a", 1)]], type=pyarrow.map_("string", "int64"))
    for number, columns in ((2, {"image": [[1]]}), (3, {"image": [1], "odd": odd})):
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), file)
        store.pipe(f"/bucket/x-{number}.parquet", file.getvalue())
    found = open_source("memory://bucket/x-*.parquet")
    assert greys(found) == [1, 2]
    assert [bad.name for bad in found.bad] == ["x-1.parquet", "x-3.parquet"]
    assert all(bad.reason.startswith("cannot be read as parquet (") for bad in found.bad)
    assert found.left_out == ("1 table without images (x-2.parquet)",)


def test_an_interrupted_read_can_be_made_again(store, monkeypatch):
    store.pipe("/bucket/x.parquet", table_of([1, 2]))
    found = open_source("memory://bucket/x.parquet")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StoredTables, "_read_group", interrupt)
        with pytest.raises(KeyboardInterrupt):
            found.read(0)
    assert greys(found) == [1, 2]


def test_a_forked_process_waits_for_no_thread_of_its_parent(store):
    store.pipe("/bucket/x.parquet", table_of([1, 2]))
    found = open_source("memory://bucket/x.parquet")
    found._held[0] = Future()  # what a thread of the parent is reading
    found._lock.acquire()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert pool.submit(greys, found).result(timeout=60) == [1, 2]
    found._process = -1  # as one that was forked sees it
    assert greys(found) == [1, 2]


def test_large_batches_read_each_group_about_once(store, requests):
    store.pipe("/bucket/x.parquet", table_of([i % 251 for i in range(4000)], 20))
    images = open_images("memory://bucket/x.parquet", 8, split="all")
    requests.clear()
    for batch in image_batches(images, PositionedBatches(4000, 250, end=16, groups=images.groups)):
        assert len(batch.images) == 250
    assert len(requests) <= 200 + N_LANES + 2


def test_refusing_bad_images_reads_each_group_once(store, requests, monkeypatch):
    images = many(store)
    requests.clear()
    open_images("memory://bucket/x.parquet", 8, on_bad="refuse")
    assert len(requests) <= max(images.groups) + 1 + 2  # the footer
    with pytest.raises(ValueError, match=f"{len(images)} of {len(images)} images are bad"):
        open_images("memory://bucket/x.parquet", 32, on_bad="refuse")


def test_rows_that_name_files_are_bad(store):
    file = io.BytesIO()
    images = [{"bytes": png(1), "path": "a.png"}, {"bytes": None, "path": "/etc/passwd"}, {"bytes": None, "path": None}]
    parquet.write_table(pyarrow.table({"image": images}), file)
    store.pipe("/bucket/x.parquet", file.getvalue())
    found = open_source("memory://bucket/x.parquet")
    assert found.read(0).getpixel((0, 0)) == (1, 1, 1)
    with pytest.raises(BadImageError, match="the row names /etc/passwd, and holds no image"):
        found.read(1)
    with pytest.raises(BadImageError, match="the row holds no image"):
        found.read(2)


def test_open_source_of_stored_tables_reports_errors_in_one_line(store):
    store.pipe("/bucket/a/x-0.parquet", table_of([1]))
    store.pipe("/bucket/a/x-1.parquet", table_of([1], label=[1]))
    store.pipe("/bucket/b/x.parquet", table_of([1], label=[0.5]))
    store.pipe("/bucket/c/one.parquet", table_of([1]))
    store.pipe("/bucket/c/two.parquet", table_of([1]))
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        rows = datasets.Dataset.from_dict({"image": [{"bytes": png(1), "path": None}], "label": [0]}, features=features)
        rows.to_parquet(file := io.BytesIO())
        store.pipe(f"/bucket/d/x-{number}.parquet", file.getvalue())
    assert greys(open_source("memory://bucket/d", labels=False)) == [1, 1]
    expected = {
        "memory://bucket/d": "x-0.parquet and x-1.parquet have different names of classes: give one of them",
        "memory://bucket/a": "x-0.parquet and x-1.parquet have different columns: give one of them",
        "memory://bucket/b": "b/x.parquet: column 'label' holds double, which is not a class",
        "memory://bucket/c": "holds several tables: .*one.parquet.*two.parquet.*; give one of them",
        "memory://bucket/none.parquet": r"none.parquet holds no images \(none.parquet: it is not there",
    }
    for source, message in expected.items():
        with pytest.raises(ValueError, match=message) as caught:
            open_source(source)
        assert "\n" not in str(caught.value)


def test_large_groups_of_rows_are_warned_of(store, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "spectrum_matching")
    n_rows = 4 * N_HELD
    store.pipe("/bucket/x.parquet", table_of([i % 251 for i in range(n_rows)], 2))  # twice as many groups as are held
    n_bytes = sum(open_source("memory://bucket/x.parquet", labels=False)._indices["x.parquet"].n_bytes)
    for limit, n_warnings in ((0.6, 0), (0.4, 1)):
        monkeypatch.setattr(row_groups, "LARGE", limit * n_bytes)
        caplog.clear()
        open_source("memory://bucket/x.parquet", labels=False)
        assert len(caplog.messages) == n_warnings


def test_stream_reads_a_split_of_a_data_set_in_place(tmp_path):
    # A local folder is a name that the library takes, so the real path is run without a network.
    for part, number, greys_of_it in (("train", 0, [1, 2]), ("train", 1, [3]), ("test", 0, [4])):
        path = tmp_path / "set" / "data" / f"{part}-0000{number}-of-00002.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(table_of(greys_of_it))
    name = f"stream:{tmp_path}/set"
    found = open_source(name)
    assert (greys(found), greys(open_source(f"{name}:test"))) == ([1, 2, 3], [4])
    assert list(found.names)[2] == "train-00001-of-00002.parquet:0"
    (tmp_path / "set" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: both\n    path: data/*.parquet\n---\n"
    )
    assert greys(open_source(f"{name}:both")) == [4, 1, 2, 3]  # whatever the files are named
    (tmp_path / "set" / "README.md").unlink()
    images = open_images(name, 8, split="all")
    assert [row.item for row in images.__getitems__([2, 0])] == [2, 0]
    assert images.choice.is_available()
    with pytest.raises(ValueError, match=r"has no split 'validation': give one of train, test"):
        open_source(f"{name}:validation")
    with pytest.raises(ValueError, match=r"hub data set '.*nowhere' cannot be opened") as caught:
        open_source(f"stream:{tmp_path}/nowhere")
    assert "\n" not in str(caught.value)
