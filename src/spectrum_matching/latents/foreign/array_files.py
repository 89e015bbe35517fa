"""Arrays of latents in .npy and .npz files, of which nothing is unpickled but the numbers of an array.

A file that holds objects (U-ViT's pairs of moments and label) goes through an unpickler that knows four names of
NumPy's and puts a stand-in for each, so that not even NumPy's own code runs on what the file says.
"""

import io
import math
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...files.npy import NpyHeader, NpyHeaderError, read_npy_header
from ..latent_set import BadLatentError


def npy_shape(path: Path) -> tuple[int, ...] | None:
    """Return the shape of an array from its header alone, None for an array of objects.

    Raises:
        BadLatentError: when the file is damaged or cut off.
    """
    with _reading(), path.open("rb") as stream:
        header = _header(stream)
        start, end = stream.tell(), stream.seek(0, io.SEEK_END)
        if not header.dtype.hasobject:
            _check_length(header, end - start)
            return header.shape
        stream.seek(max(start, end - 1))
        if stream.read() != pickle.STOP:
            raise BadLatentError("truncated")
        return None


def read_npy(path: Path) -> list[Any]:
    """Return an array alone, or the arrays and numbers in an array of objects.

    Raises:
        BadLatentError: when the file is damaged, or holds anything else.
    """
    with _reading(), path.open("rb") as stream:
        header = _header(stream)
        data = stream.read()
        return _objects(data) if header.dtype.hasobject else [_array(header, data)]


def npz_shape(path: Path, key: str) -> tuple[int, ...]:
    """Return the shape of the array `key` of an .npz from headers alone.

    Raises:
        BadLatentError: when there is none, or the file is damaged.
    """
    with _reading(), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
        header = _header(stream)
        _check_length(header, archive.getinfo(f"{key}.npy").file_size - stream.tell())
        return header.shape


def read_npz(path: Path, key: str) -> np.ndarray:
    """Return the array `key` of an .npz; errors as of `npz_shape`."""
    npz_shape(path, key)
    with _reading(), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
        return _array(_header(stream), stream.read())


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into a BadLatentError."""
    try:
        yield
    except (BadLatentError, NpyHeaderError) as error:
        raise BadLatentError(str(error)) from error
    except Exception as error:
        reason = getattr(error, "strerror", None)
        short = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadLatentError(reason or f"truncated or corrupt ({short})") from error


def _header(stream: Any) -> NpyHeader:
    header = read_npy_header(stream)
    if not header.dtype.hasobject and header.dtype.kind != "f":
        raise BadLatentError(f"holds {header.dtype}, expected floating-point numbers")
    return header


def _check_length(header: NpyHeader, n_bytes: int) -> None:
    expected = math.prod(header.shape) * header.dtype.itemsize
    if header.dtype.hasobject or n_bytes != expected:
        raise BadLatentError(f"truncated: {n_bytes} bytes of numbers, the header announces {expected}")


def _array(header: NpyHeader, data: bytes) -> np.ndarray:
    _check_length(header, len(data))
    flat = np.frombuffer(data, header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.is_transposed else flat.reshape(header.shape)


def _objects(data: bytes) -> list[Any]:
    stored = _ArrayUnpickler(io.BytesIO(data)).load()
    if not isinstance(stored, _StoredArray) or not isinstance(stored.data, list):
        raise BadLatentError("its pickle holds no array")
    return [item.value() if isinstance(item, _StoredArray) else item for item in stored.data]


class _StoredType:
    """Stands in for numpy.dtype: a letter, a width and a byte order."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def value(self) -> np.dtype:
        if not re.fullmatch(r"[<>|=]([fiu][1248]|b1)", self.order + self.code):
            raise BadLatentError(f"holds {self.order + self.code!r}, expected numbers")
        return np.dtype(self.order + self.code)


class _StoredArray:
    """Stands in for numpy.ndarray: a shape, and the bytes or the list of objects."""

    data: bytes | list[Any]

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.is_transposed, self.data = state

    def value(self) -> np.ndarray:
        if not isinstance(self.data, bytes):
            raise BadLatentError("its pickle holds an array within an array")
        return _array(NpyHeader(self.shape, self.is_transposed, self.dtype.value()), self.data)


def _reconstruct(kind: object, shape: object, code: object) -> _StoredArray:
    return _StoredArray()


def _scalar(dtype: _StoredType, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.value(), count=1)[0]


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _StoredArray,
    ("numpy", "dtype"): _StoredType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 calls its core numpy._core.
        stand_in = STAND_INS.get((module.replace("numpy._core", "numpy.core", 1), name))
        if stand_in is None:
            raise BadLatentError(f"refused: its pickle names {f'{module}.{name}'!r}, which is no part of an array")
        return stand_in
