from pathlib import Path

import pytest
from PIL import Image

from spectrum_matching.data.sources import describe, open_source


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)


def test_open_source_ignores_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / ".cache" / "b.png")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    found = open_source(str(tmp_path))
    assert (found.names, found.left_out) == (["a.png"], ())


def test_open_source_of_a_loop_of_links_lists_each_image_once(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png")
    (tmp_path / "latest").symlink_to(".")
    found = open_source(str(tmp_path))
    assert found.names == ["0.png", "1.png", "2.png"]
    assert found.left_out == ("1 second name (latest)",)


def test_open_source_reports_errors_in_one_line(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("datasets")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "list.txt").write_text("a.png")
    parquet.write_table(pyarrow.table({"pixels": [0.0]}), tmp_path / "other.parquet")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a")
    (tmp_path / "text" / "b.png").touch()
    expected = {
        "nowhere": 'no such file or folder: .*nowhere; check the path, or give hub:NAME or "embedded"',
        "empty": "empty holds no images$",
        "list.txt": "neither a folder nor a .parquet or .tar file",
        "broken.parquet": r"no images \(broken.parquet: cannot be read as parquet",
        "other.parquet": "no column 'image' of images among pixels",
        "text": r"text holds no images \(b.png: empty file; a.txt: not an image\)$",
    }
    for name, message in expected.items():
        with pytest.raises(ValueError, match=message) as caught:
            open_source(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="name of the images is empty"):
        open_source("")


def test_describe_says_what_was_taken_and_what_was_left_out(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png", "train/stray.png"):
        write(tmp_path / name)
    (tmp_path / "train" / "a" / "empty.png").touch()
    (tmp_path / "notes.txt").touch()
    line = describe("photos", open_source(str(tmp_path)))
    assert line == (
        "photos: 2 classes, 2 images of the part train; left aside: 1 image of another part (test/a/3.png),"
        " 1 image outside of class folders (train/stray.png), 1 other file (notes.txt); 1 unusable file (a/empty.png)"
    )
