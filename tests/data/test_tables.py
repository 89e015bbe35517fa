import io
import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from files_of_tests import png
from spectrum_matching.data.decode import BadImageError, Frame
from spectrum_matching.data.sources import open_source
from spectrum_matching.data.tables import TableSource

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, greys: Sequence[int] = (1,), **columns: object) -> None:
    """Write a table of images, and perhaps other columns, as other tools do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(grey), "path": None} for grey in greys]
    parquet.write_table(pyarrow.table({"image": images, **columns}), path)


def opened(path: Path, labels: bool = True) -> TableSource:
    found = open_source(str(path), labels=labels)
    assert isinstance(found, TableSource)
    return found


@pytest.fixture(autouse=True)
def datasets(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    return datasets


def test_table_source_reads_parquet(tmp_path: Path, datasets) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])})
    rows = {"image": [{"bytes": png(grey), "path": None} for grey in (0, 9, 250)], "label": [0, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "some.parquet")
    for source in (tmp_path / "some.parquet", tmp_path):
        found = opened(source)
        assert list(found.names) == ["some.parquet:0", "some.parquet:1", "some.parquet:2"]
        assert (found.classes, list(found.labels)) == (("dark", "light"), [0, 0, 1])
        assert [found.content(item).n_bytes for item in range(3)] == [len(png(grey)) for grey in (0, 9, 250)]
        assert [found.read(item).getpixel((0, 0)) for item in range(3)] == [(grey,) * 3 for grey in (0, 9, 250)]
        assert found.frame(1) == Frame(8, 8, 1)


def test_open_tables_joins_the_pieces_of_one_in_order(tmp_path: Path, datasets) -> None:
    for number, greys in ((1, (3,)), (0, (1, 2))):
        columns = {"image": [png(grey) for grey in greys]}
        datasets.Dataset.from_dict(columns).to_parquet(tmp_path / f"part-{number}.parquet")
    found = opened(tmp_path)
    assert list(found.names) == ["part-0.parquet:0", "part-0.parquet:1", "part-1.parquet:0"]
    assert [found.read(item).getpixel((0, 0))[0] for item in range(3)] == [1, 2, 3]
    assert (found.classes, list(found.labels), found.part) == ((), [-1, -1, -1], "")


@pytest.mark.parametrize(
    ("train", "test", "part"),
    [
        ("default/train/0000", "default/test/0000", "default/train"),
        ("data/train-00000-of-00001-a1b2c3d4", "data/test-00000-of-00001-e5f60718", "data/train"),
        ("mnist_train", "mnist_test", "mnist_train"),
        ("train-0", "validation-0", "train-0"),
    ],
)
def test_open_tables_takes_the_train_part(tmp_path: Path, train: str, test: str, part: str) -> None:
    write(tmp_path / f"{train}.parquet", (1, 2))
    write(tmp_path / f"{test}.parquet", (3,))
    found = opened(tmp_path)
    assert [found.read(item).getpixel((0, 0))[0] for item in range(len(found.names))] == [1, 2]
    assert (found.part, found.left_out) == (part, (f"1 table of another part ({test}.parquet)",))


def test_open_tables_takes_train_station_for_no_part(tmp_path: Path) -> None:
    for name in ("train_station", "bus_station", "airport"):
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"several tables: .*airport.parquet, .*bus_station.parquet, .*; give one"):
        opened(tmp_path)
    assert len(opened(tmp_path / "train_station.parquet").names) == 1


def test_open_tables_names_folders_and_files_to_choose_from(tmp_path: Path) -> None:
    for name in ("full/train/0000", "full/train/0001", "small/train/0000", "full/test/0000", "small/test/0000"):
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=rf"several tables: {tmp_path}/full/train, {tmp_path}/small/train; give"):
        opened(tmp_path)
    assert len(opened(tmp_path / "full").names) == 2


def test_open_tables_refuses_different_columns(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", label=[1])
    write(tmp_path / "1.parquet", label=["cat"])
    with pytest.raises(ValueError, match=r"0\.parquet and 1\.parquet have different columns: give one of them"):
        opened(tmp_path)


def test_open_source_refuses_tables_beside_images(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(png(5))
    with pytest.raises(ValueError, match=r"1 table of images \(a.parquet\) and 1 image file \(pictures/0.png\): give"):
        open_source(str(tmp_path))
    assert len(opened(tmp_path / "a.parquet").names) == 1
    assert open_source(str(tmp_path / "pictures")).names == ["0.png"]


def test_open_source_leaves_aside_tables_without_images(tmp_path: Path) -> None:
    for root in (tmp_path / "files", tmp_path / "tables"):
        root.mkdir()
        table = pyarrow.table({"image": ["0.png"], "text": ["a cat"]})
        parquet.write_table(table, root / "metadata.parquet")
    (tmp_path / "files" / "0.png").write_bytes(png(5))
    write(tmp_path / "tables" / "a.parquet")
    for root in (tmp_path / "files", tmp_path / "tables"):
        found = open_source(str(root))
        assert len(found.names) == 1
        assert found.left_out == ("1 table without images (metadata.parquet)",)


def test_open_source_names_damaged_tables(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet")
    (tmp_path / "1.parquet").write_bytes(b"PAR1 and no more")
    found = opened(tmp_path)
    assert list(found.names) == ["0.parquet:0"]
    assert [file.name for file in found.bad] == ["1.parquet"]
    assert found.bad[0].reason.startswith("cannot be read as parquet (")


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        ([1, 2, 3, 1], ("1", "2", "3"), [0, 1, 2, 0]),
        ([2_000_000, 5_000_000, 0, 1], ("0", "1", "2000000", "5000000"), [2, 3, 0, 1]),
        (["cat", "dog", "cat", None], ("cat", "dog"), [0, 1, 0, -1]),
        ([5, None, -1, 5], ("5",), [0, -1, -1, 0]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        ([None, None, None, None], (), [-1, -1, -1, -1]),
    ],
)
def test_table_source_numbers_the_labels_that_occur(tmp_path: Path, values, classes, labels) -> None:
    write(tmp_path / "a.parquet", range(4), label=values)
    found = opened(tmp_path)
    assert (found.classes, list(found.labels)) == (classes, labels)


def test_table_source_classes_keep_the_names_of_labels_that_occur(tmp_path: Path, datasets) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cow"])})
    rows = {"image": [{"bytes": png(grey), "path": None} for grey in range(3)], "label": [2, 0, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    found = opened(tmp_path)
    assert (found.classes, list(found.labels)) == (("ant", "cow"), [1, 0, -1])


@pytest.mark.parametrize("values", [[[1, 2], [3]], [0.5, 1.0], [{"a": 1}, {"a": 2}]])
def test_table_source_refuses_labels_that_are_no_classes_only_if_asked_for(tmp_path: Path, values) -> None:
    write(tmp_path / "a.parquet", range(2), label=values)
    with pytest.raises(
        ValueError, match=r"a\.parquet: column 'label' holds .*, which is not a class.*--no-labels"
    ) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    found = opened(tmp_path, labels=False)
    assert (found.classes, list(found.labels)) == ((), [-1, -1])


def test_table_source_opens_files_of_its_folder_alone(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for path in (root / "images" / "here.png", tmp_path / "secret.png"):
        path.write_bytes(png(40))
    os.mkfifo(root / "pipe.png")
    paths = [str(root / "images" / "here.png"), "images/here.png", "../secret.png", str(tmp_path / "secret.png")]
    paths += ["pipe.png", "images", "gone.png", None, "a\0b.png"]
    images = [{"bytes": None, "path": path} for path in paths]
    parquet.write_table(pyarrow.table({"image": images}), root / "rows.parquet")
    found = opened(root / "rows.parquet")
    assert [found.read(item).getpixel((0, 0)) for item in (0, 1)] == [(40, 40, 40)] * 2
    reasons = []
    for item in range(2, len(paths)):
        with pytest.raises(BadImageError) as caught:
            found.read(item)
        with pytest.raises(BadImageError):
            found.frame(item)
        reasons.append(str(caught.value))
    assert [found.content(item).n_bytes for item in range(len(paths))] == [len(png(40))] * 2 + [-1] * 7
    outside = f"which lies outside of {root}"
    assert reasons == [
        f"the row names ../secret.png, {outside}",
        f"the row names {tmp_path}/secret.png, {outside}",
        "not a regular file, but a named pipe",
        "not a regular file, but a folder",
        "No such file or directory",
        "the row holds no image",
        "embedded null byte",
    ]


def test_open_tables_refuses_pieces_with_other_names_of_classes(tmp_path: Path, datasets) -> None:
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        rows = {"image": [{"bytes": png(number), "path": None}], "label": [0]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"x-{number}.parquet")
    with pytest.raises(ValueError, match=r"x-0.parquet and x-1.parquet have different names of classes: give one"):
        opened(tmp_path)
    assert len(opened(tmp_path, labels=False).names) == 2


def test_open_hub_by_name_and_split(tmp_path: Path, datasets) -> None:
    # A local folder is a name that the hub library takes, so the real path is run without a network.
    for split, grey in (("train", 10), ("test", 20)):
        rows = {"img": [png(grey)] * 2, "fine": [1, 0]}
        features = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b"])})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set" / f"{split}.parquet")
    for source, grey in ((f"hub:{tmp_path}/set", 10), (f"hub:{tmp_path}/set:test", 20)):
        found = open_source(source)
        assert found.read(0).getpixel((0, 0)) == (grey, grey, grey)
        assert (found.classes, list(found.labels)) == (("a", "b"), [1, 0])
        assert open_source(source, labels=False).classes == ()
    with pytest.raises(ValueError, match=r"hub data set '.*/set' cannot be opened: .*validation"):
        open_source(f"hub:{tmp_path}/set:validation")


def test_open_hub_reads_files_of_the_folder_that_is_named(tmp_path: Path, datasets) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.png").write_bytes(png(7))
    found = open_source(f"hub:{tmp_path}/set")
    assert found.read(0).getpixel((0, 0)) == (7, 7, 7)


def test_open_source_names_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "some.parquet").touch()
    for source in ("hub:owner/name", str(tmp_path / "some.parquet"), str(tmp_path)):
        with pytest.raises(ValueError, match=r"pip install 'spectrum-matching\[data\]'"):
            open_source(source)


def test_table_source_pickles_as_reference(tmp_path: Path, datasets) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    datasets.Dataset.from_dict({"image": [file.getvalue()] * 20}).to_parquet(tmp_path / "rows.parquet")
    found = open_source(str(tmp_path / "rows.parquet"))
    pickled = pickle.dumps(found)
    assert len(pickled) < len(file.getvalue())
    assert np.array_equal(pickle.loads(pickled).read(7), noise)


def test_a_table_replaced_under_the_same_path_and_time_is_read_anew(tmp_path: Path) -> None:
    for greys in ((1, 2), (3, 4), (5, 6, 7)):
        write(tmp_path / "some.parquet", greys)
        os.utime(tmp_path / "some.parquet", (1e9, 1e9))
        found = opened(tmp_path / "some.parquet")
        assert [found.read(item).getpixel((0, 0))[0] for item in range(len(found.names))] == list(greys)
