import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spectrum_matching.latents.latent_set import BadLatentError
from spectrum_matching.latents.read_arrays import array_shape, read_array

MOMENTS = np.random.default_rng(0).standard_normal((8, 4, 4), dtype=np.float32)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_array_npy_equals_numpy(tmp_path: Path, dtype: str, order: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(MOMENTS, dtype, order=order))
    array = read_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(array, np.load(tmp_path / "a.npy"))
    assert array_shape(tmp_path / "a.npy") == (8, 4, 4)


def test_array_shape_detects_truncation(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MOMENTS)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-7])
    for read in (array_shape, read_array):
        with pytest.raises(BadLatentError, match="truncated"):
            read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>", "begins with '<!DOCTYP'"),
        (b"\x93NUMPY\x09\x00", "version 9.0"),
        (b"\x93NUMPY\x01\x00\x08\x00{'descr'", "truncated or corrupt"),
    ],
)
def test_read_array_npy_describes_what_is_no_array(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    for read in (array_shape, read_array):
        with pytest.raises(BadLatentError, match=reason):
            read(tmp_path / "a.npy")


def test_read_array_npy_refuses_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 4, 4), np.int64))
    with pytest.raises(BadLatentError, match="int64"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_array_npz_equals_numpy(tmp_path: Path, save) -> None:
    save(tmp_path / "a.npz", moments=MOMENTS, moments_flip=MOMENTS[..., ::-1])
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "moments"), MOMENTS)
    assert array_shape(tmp_path / "a.npz", "moments") == (8, 4, 4)


def test_read_array_npz_refuses_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, moments=MOMENTS)
    whole = path.read_bytes()
    with pytest.raises(BadLatentError, match="other"):
        read_array(path, "other")
    path.write_bytes(whole[:-30])
    with pytest.raises(BadLatentError):
        array_shape(path, "moments")
    flipped = bytearray(whole)
    flipped[whole.index(MOMENTS.tobytes()) + 100] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(BadLatentError, match="CRC"):
        read_array(path, "moments")


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.mark}'",)


def test_read_array_refuses_objects_and_runs_nothing(tmp_path: Path) -> None:
    stored = np.array([Malice(tmp_path / "mark"), 1], dtype=object)
    np.save(tmp_path / "a.npy", stored, allow_pickle=True)
    np.savez(tmp_path / "a.npz", moments=stored)
    for name, key in (("a.npy", None), ("a.npz", "moments")):
        for read in (array_shape, read_array):
            with pytest.raises(BadLatentError, match="holds object, expected floating-point numbers"):
                read(tmp_path / name, key)
    assert not (tmp_path / "mark").exists()


def test_read_array_npz_checks_announced_size(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": (8, 1 << 20, 1 << 20)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("moments.npy", stream.getvalue())
    with pytest.raises(BadLatentError, match="announces"):
        read_array(tmp_path / "a.npz", "moments")
