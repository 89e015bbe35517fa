import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectrum_matching.data.decode import BadImageError
from spectrum_matching.data.sources import open_source


def write(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), grey).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


def test_open_source_flat_folder_has_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    write(tmp_path / "a.png")
    write(tmp_path / "extra" / "c.png")
    found = open_source(str(tmp_path))
    assert list(found.names) == ["a.png", "b.png", "extra/c.png"]
    assert (found.classes, list(found.labels)) == ((), [-1, -1, -1])


def test_open_source_classes_are_sorted_folders(tmp_path: Path) -> None:
    write(tmp_path / "zebra" / "1.png")
    write(tmp_path / "ant" / "deep" / "2.png")
    (tmp_path / "mole").mkdir()
    (tmp_path / "README.md").write_text("about these images")
    found = open_source(str(tmp_path))
    assert found.classes == ("ant", "mole", "zebra")
    assert dict(zip(found.names, found.labels, strict=True)) == {"README.md": -1, "ant/deep/2.png": 0, "zebra/1.png": 2}


def test_open_source_ignores_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / ".cache" / "b.png")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    assert list(open_source(str(tmp_path)).names) == ["a.png"]


def test_open_source_takes_train_part(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.png")
    write(tmp_path / "val" / "b.png")
    assert list(open_source(str(tmp_path)).names) == ["a.png"]


@pytest.mark.slow
def test_table_source_reads_parquet(tmp_path: Path, datasets) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])})
    rows = {"image": [{"bytes": png(grey), "path": None} for grey in (0, 9, 250)], "label": [0, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "some.parquet")
    for source in (tmp_path / "some.parquet", tmp_path):
        found = open_source(str(source))
        assert list(found.names) == ["some.parquet:0", "some.parquet:1", "some.parquet:2"]
        assert (found.classes, list(found.labels)) == (("dark", "light"), [0, 0, 1])
        assert list(found.n_bytes) == [len(png(grey)) for grey in (0, 9, 250)]
        assert [found.read(item).getpixel((0, 0)) for item in range(3)] == [(grey,) * 3 for grey in (0, 9, 250)]


def test_open_source_parquet_folder_takes_train_files(tmp_path: Path, datasets) -> None:
    for name, greys in (("train-1.parquet", (3,)), ("train-0.parquet", (1, 2)), ("test-0.parquet", (9,))):
        datasets.Dataset.from_dict({"image": [png(grey) for grey in greys]}).to_parquet(tmp_path / name)
    found = open_source(str(tmp_path))
    assert list(found.names) == ["train-0.parquet:0", "train-0.parquet:1", "train-1.parquet:0"]
    assert [found.read(item).getpixel((0, 0))[0] for item in range(3)] == [1, 2, 3]
    assert (found.classes, list(found.labels)) == ((), [-1, -1, -1])


def test_table_source_rows_may_point_to_files(tmp_path: Path, datasets) -> None:
    write(tmp_path / "here.png", 40)
    rows = [{"bytes": None, "path": str(tmp_path / "here.png")}, {"bytes": None, "path": None}]
    datasets.Dataset.from_dict({"image": rows, "label": [5, None]}).to_parquet(tmp_path / "rows.parquet")
    found = open_source(str(tmp_path / "rows.parquet"))
    assert found.read(0).getpixel((0, 0)) == (40, 40, 40)
    assert (list(found.labels), len(found.classes)) == ([5, -1], 6)
    with pytest.raises(BadImageError, match="holds no image"):
        found.size(1)


def test_open_source_hub_by_name_and_split(tmp_path: Path, datasets) -> None:
    # A local folder is a name that the hub library takes, so the real path is run without a network.
    for split, grey in (("train", 10), ("test", 20)):
        rows = {"img": [png(grey)], "fine": [1]}
        features = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["a", "b"])})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "set" / f"{split}.parquet")
    for source, grey in ((f"hub:{tmp_path}/set", 10), (f"hub:{tmp_path}/set:test", 20)):
        found = open_source(source)
        assert found.read(0).getpixel((0, 0)) == (grey, grey, grey)
        assert (found.classes, list(found.labels)) == (("a", "b"), [1])
    with pytest.raises(ValueError, match=r"hub data set '.*/set' cannot be opened: .*validation"):
        open_source(f"hub:{tmp_path}/set:validation")


def test_open_source_names_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "some.parquet").touch()
    for source in ("hub:owner/name", str(tmp_path / "some.parquet")):
        with pytest.raises(ValueError, match=r"pip install 'spectrum-matching\[data\]'"):
            open_source(source)


def test_open_source_reports_errors_in_one_line(tmp_path: Path, datasets) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "list.txt").write_text("a.png")
    datasets.Dataset.from_dict({"pixels": [np.zeros(4)]}).to_parquet(tmp_path / "other.parquet")
    expected = {
        "nowhere": 'no such file or folder: .*nowhere; check the path, or give hub:NAME or "embedded"',
        "empty": "holds no files",
        "list.txt": "neither a folder nor a .parquet file",
        "broken.parquet": "cannot be read as parquet",
        "other.parquet": "no column 'image' among pixels",
    }
    for name, message in expected.items():
        with pytest.raises(ValueError, match=message) as caught:
            open_source(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_table_source_pickles_as_reference(tmp_path: Path, datasets) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    datasets.Dataset.from_dict({"image": [file.getvalue()] * 20}).to_parquet(tmp_path / "rows.parquet")
    found = open_source(str(tmp_path / "rows.parquet"))
    pickled = pickle.dumps(found)
    assert len(pickled) < len(file.getvalue())
    assert np.array_equal(pickle.loads(pickled).read(7), noise)
