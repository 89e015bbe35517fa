import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.fingerprint import (
    BLOCK,
    N_GROUPS,
    Content,
    KnownContents,
    buffer_content,
    changes,
    file_content,
    fingerprint,
    warn_if_rewritten,
)
from spectrum_matching.data.images import open_images
from spectrum_matching.data.order import fixed_batches


def known(names: list[str], seed: str = "") -> KnownContents:
    return KnownContents({name: Content(1, f"{name}{seed}".encode()) for name in names})


def noise(seed: int, side: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def bitmaps(tmp_path: Path) -> Path:
    """Twelve BMP files, all of one byte count."""
    folder = tmp_path / "bitmaps"
    folder.mkdir()
    for number in range(12):
        noise(number).save(folder / f"{number:02d}.bmp")
    return folder


@pytest.mark.parametrize("n", [0, 1, 3 * BLOCK - 1, 3 * BLOCK])
def test_file_content_of_a_small_file_covers_every_byte(tmp_path: Path, n: int) -> None:
    path, data = tmp_path / "file", np.random.default_rng(0).bytes(n)
    path.write_bytes(data)
    content = file_content(path)
    assert (content.n_bytes, content.time) == (n, path.stat().st_mtime_ns)
    assert content.digest == buffer_content(memoryview(data)).digest
    for at in {0, n // 3, n - 1} if n else ():
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert file_content(path).digest != content.digest


def test_file_content_of_a_large_file_covers_its_head_middle_and_tail_alone(tmp_path: Path) -> None:
    path, n = tmp_path / "file", 10 * BLOCK
    data = bytearray(np.random.default_rng(0).bytes(n))
    path.write_bytes(data)
    before, middle = file_content(path).digest, (n - BLOCK) // 2
    assert buffer_content(memoryview(data)).digest == before
    for at, is_seen in (
        *((at, True) for at in (0, BLOCK - 1, middle, middle + BLOCK - 1, n - BLOCK, n - 1)),
        *((at, False) for at in (BLOCK, middle - 1, middle + BLOCK, n - BLOCK - 1)),
    ):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert (file_content(path).digest != before) == is_seen


def test_file_content_of_what_cannot_be_read_is_one_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    found = [file_content(tmp_path / name) for name in ("pipe", "missing", ".", "empty")]
    assert [content.n_bytes for content in found] == [-1, -1, -1, 0]


def test_file_content_of_a_png_covers_every_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, compress_level=0)
    before = file_content(path)
    for row in (10, 24, 36, 60, 80):  # also between the blocks
        changed = pixels.copy()
        changed[row, 48, 1] ^= 1
        Image.fromarray(changed).save(path, compress_level=0)
        after = file_content(path)
        assert (after.n_bytes, after.n_bytes > 3 * BLOCK) == (before.n_bytes, True)
        assert after.digest != before.digest


def test_image_set_digest_follows_contents_of_one_byte_count(bitmaps: Path) -> None:
    before = open_images(str(bitmaps), 24, split="all").fingerprint
    noise(99).save(bitmaps / "07.bmp")
    after = open_images(str(bitmaps), 24, split="all")
    assert before.n == after.fingerprint.n == 12
    assert changes(before, after.fingerprint, after.names) == "12, as before, the first difference at 07.bmp"
    noise(7).save(bitmaps / "07.bmp")
    assert open_images(str(bitmaps), 24, split="all").digest == before.digest


def test_image_set_digest_ignores_times_and_a_warning_names_them(
    bitmaps: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = open_images(str(bitmaps), 24).fingerprint
    warn_if_rewritten("the images", before, before)
    assert not caplog.records
    path = next(bitmaps.iterdir())
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    os.utime(bitmaps / "03.bmp", ns=(0, 1))
    after = open_images(str(bitmaps), 24).fingerprint
    assert changes(before, after, []) == ""
    warn_if_rewritten("the images", before, after)
    (record,) = caplog.records
    assert record.getMessage().startswith("the images were written again or copied: their times differ; ")


def test_image_set_takes_no_fingerprint_unless_it_is_asked_for(bitmaps: Path) -> None:
    images = open_images(str(bitmaps), 24, split="all")
    next(fixed_batches(images, 4, 4))
    assert "fingerprint" not in vars(images)
    part = fingerprint(images, range(4))
    (bitmaps / "11.bmp").unlink()
    noise(98).save(bitmaps / "10.bmp")
    assert (fingerprint(images, range(4)), part.n) == (part, 4)
    assert fingerprint(images, range(3)) != part
    assert "fingerprint" not in vars(images)
    assert images.fingerprint.n == 12


def test_image_set_digest_follows_the_rows_of_a_table(tmp_path: Path, bitmaps: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def digest(name: str, rows: list[bytes], split: str = "all") -> str:
        path = tmp_path / name / "rows.parquet"
        path.parent.mkdir()
        parquet.write_table(pyarrow.table({"image": [{"bytes": row, "path": None} for row in rows]}), path)
        return open_images(str(path), 24, split=split).digest

    rows = [path.read_bytes() for path in sorted(bitmaps.iterdir())]
    first = digest("first", rows)
    assert digest("equal", rows) == first
    assert digest("swapped", [*rows[:10], rows[11], rows[10]]) != first
    assert digest("train", rows, "train") not in (first, digest("held out", rows, "held_out"))
    noise(99).save(bitmaps / "00.bmp")
    assert digest("other", [(bitmaps / "00.bmp").read_bytes(), *rows[1:]]) != first


def test_image_set_digest_follows_the_files_that_rows_name(tmp_path: Path, bitmaps: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": None, "path": str(path)} for path in sorted(bitmaps.iterdir())]
    schema = pyarrow.schema({"image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})})
    parquet.write_table(pyarrow.Table.from_pylist([{"image": row} for row in rows], schema), tmp_path / "rows.parquet")
    before = open_images(str(tmp_path / "rows.parquet"), 24, split="all").digest
    noise(99).save(bitmaps / "11.bmp")
    assert open_images(str(tmp_path / "rows.parquet"), 24, split="all").digest != before


def test_embedded_digest_follows_split_and_size() -> None:
    found = {
        (split, size): open_images("embedded", size, split=split).digest
        for split in ("train", "held_out", "all")
        for size in (32, 64)
    }
    assert len(set(found.values())) == 6
    assert open_images("embedded", 32, split="train", seed=5, held_out=0.5).digest == found["train", 32]


def test_tensor_images_digest_follows_every_value() -> None:
    torch = pytest.importorskip("torch")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = TensorImages(images)
    changed = images.clone()
    changed[1, 1, 20, 20] += 1e-6
    assert TensorImages(images.clone()).digest == before.digest
    after = TensorImages(changed)
    assert changes(before.fingerprint, after.fingerprint, after.names) == "3, as before, the first difference at 1"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (["a", "b", "c"], ""),
        (["a", "b"], "3 there, 2 now"),
        (["a", "c"], "3 there, 2 now, the first difference at c"),
        (["a", "b", "c", "d"], "3 there, 4 now, the first difference at d"),
        (["z", "b", "c"], "3, as before, the first difference at z"),
        ([], "3 there, 0 now"),
    ],
)
def test_changes_name_counts_and_the_first_difference(now: list[str], said: str) -> None:
    assert changes(known(["a", "b", "c"]).fingerprint, known(now).fingerprint, now) == said


def test_changes_of_large_sets_name_the_group_of_the_first_difference() -> None:
    names = [f"{number:04d}" for number in range(4 * N_GROUPS)]
    before = known(names).fingerprint
    assert len(before.groups) == 8 * N_GROUPS
    for first in (0, 402, 1023):
        replaced = [*names[:first], "new", *names[first + 1 :]]
        start = first // 4 * 4
        expected = f"1,024, as before, the first difference between {replaced[start]} and {replaced[start + 3]}"
        assert changes(before, known(replaced).fingerprint, replaced) == expected
    removed = names[:512] + names[513:]
    expected = "1,024 there, 1,023 now, the first difference between 0513 and 0516"
    assert changes(before, known(removed).fingerprint, removed) == expected
    assert changes(before, known(names[:8]).fingerprint, names) == "1,024 there, 8 now"


def test_changes_of_sets_of_which_nothing_is_known() -> None:
    one = known(["a"]).fingerprint
    assert changes(None, None, []) == ""
    assert changes(None, one, ["a"]) == "then nothing is known of them"
    assert changes(one, None, []) == "now nothing is known of them"
