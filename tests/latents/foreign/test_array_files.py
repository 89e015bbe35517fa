import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spectrum_matching.latents.foreign.array_files import npy_shape, npz_shape, read_npy, read_npz
from spectrum_matching.latents.latent_set import BadLatentError

MOMENTS = np.random.default_rng(0).standard_normal((8, 4, 4), dtype=np.float32)


def pair_of(moments: np.ndarray, label: object) -> np.ndarray:
    """What np.save makes of (moments, label)."""
    pair = np.empty(2, dtype=object)
    pair[:] = [moments, label]
    return pair


def save_pickle(path: Path, payload: bytes) -> Path:
    """A .npy file of objects whose pickle is `payload`."""
    stream = io.BytesIO()
    np.save(stream, pair_of(MOMENTS, 1))
    header = stream.getvalue()[: stream.getvalue().index(b"\n") + 1]
    path.write_bytes(header + payload)
    return path


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_read_npy_equals_numpy(tmp_path: Path, dtype: str, order: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(MOMENTS, dtype, order=order))
    (array,) = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(array, np.load(tmp_path / "a.npy"))
    assert npy_shape(tmp_path / "a.npy") == (8, 4, 4)


@pytest.mark.parametrize("label", [7, np.int64(7), np.int32(7), np.array(7)])
def test_read_npy_reads_pickled_pair(tmp_path: Path, label: object) -> None:
    np.save(tmp_path / "0.npy", pair_of(MOMENTS, label), allow_pickle=True)
    moments, found = read_npy(tmp_path / "0.npy")
    np.testing.assert_array_equal(moments, MOMENTS)
    assert int(found) == 7
    assert npy_shape(tmp_path / "0.npy") is None


@pytest.mark.parametrize("protocol", [3, 4])
def test_read_npy_reads_pair_of_numpy_1(tmp_path: Path, protocol: int) -> None:
    payload = pickle.dumps(pair_of(np.asfortranarray(MOMENTS), np.int64(3)), protocol=protocol)
    # Opcodes carry lengths, so that the shorter name of NumPy 1 needs its own.
    for new, old in (
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
        (b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"),
    ):
        payload = payload.replace(new, old)
    if protocol == 4:
        frame = payload.index(b"\x95") + 1
        length = len(payload) - frame - 8
        payload = payload[:frame] + length.to_bytes(8, "little") + payload[frame + 8 :]
    assert b"numpy._core" not in payload
    moments, label = read_npy(save_pickle(tmp_path / "0.npy", payload))
    np.testing.assert_array_equal(moments, MOMENTS)
    assert label == 3


class Malice:
    def __init__(self, call: object, argument: str) -> None:
        self.call, self.argument = call, argument

    def __reduce__(self) -> tuple:
        return self.call, (self.argument,)


@pytest.mark.parametrize(("call", "name"), [(os.system, "posix.system"), (eval, "builtins.eval"), (open, "io.open")])
@pytest.mark.parametrize("within", [True, False])
def test_read_npy_refuses_malicious_pickle(tmp_path: Path, call: object, name: str, within: bool) -> None:
    mark = tmp_path / "mark"
    argument = f"touch '{mark}'" if call is os.system else f"__import__('pathlib').Path({str(mark)!r}).touch()"
    malice = Malice(call, argument)
    payload = pickle.dumps(pair_of(MOMENTS, malice) if within else malice, protocol=4)
    with pytest.raises(BadLatentError, match=f"refused.*{name}"):
        read_npy(save_pickle(tmp_path / "0.npy", payload))
    assert not mark.exists()


@pytest.mark.parametrize(
    "payload",
    [
        pickle.dumps([1, 2]),
        pickle.dumps(pair_of(pair_of(MOMENTS, 1), 1)),
        pickle.dumps(np.array(["2020"], dtype="M8[s]")),
        pickle.dumps(np.array([np.array(["2020"], dtype="M8[s]"), None], dtype=object)),
        b"\x80\x04N.",
        b"\x80\x04\x95.",
        b".",
    ],
)
def test_read_npy_refuses_other_pickles(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(BadLatentError):
        read_npy(save_pickle(tmp_path / "0.npy", payload))


def test_npy_shape_detects_truncation(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MOMENTS)
    np.save(tmp_path / "b.npy", pair_of(MOMENTS, 1), allow_pickle=True)
    for name in ("a.npy", "b.npy"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-7])
        for read in (npy_shape, read_npy):
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
def test_read_npy_describes_what_is_no_array(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    for read in (npy_shape, read_npy):
        with pytest.raises(BadLatentError, match=reason):
            read(tmp_path / "a.npy")


def test_read_npy_refuses_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 4, 4), np.int64))
    with pytest.raises(BadLatentError, match="int64"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_npz_equals_numpy(tmp_path: Path, save) -> None:
    save(tmp_path / "a.npz", moments=MOMENTS, moments_flip=MOMENTS[..., ::-1])
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", "moments"), MOMENTS)
    assert npz_shape(tmp_path / "a.npz", "moments") == (8, 4, 4)


def test_read_npz_refuses_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, moments=MOMENTS)
    whole = path.read_bytes()
    with pytest.raises(BadLatentError, match="other"):
        read_npz(path, "other")
    path.write_bytes(whole[:-30])
    with pytest.raises(BadLatentError):
        npz_shape(path, "moments")
    flipped = bytearray(whole)
    flipped[whole.index(MOMENTS.tobytes()) + 100] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(BadLatentError, match="CRC"):
        read_npz(path, "moments")


def test_read_npz_refuses_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", moments=pair_of(MOMENTS, 1))
    with pytest.raises(BadLatentError):
        read_npz(tmp_path / "a.npz", "moments")


def test_read_npz_checks_announced_size(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f4", "fortran_order": False, "shape": (8, 1 << 20, 1 << 20)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("moments.npy", stream.getvalue())
    with pytest.raises(BadLatentError, match="announces"):
        read_npz(tmp_path / "a.npz", "moments")
