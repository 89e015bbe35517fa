"""Headers of NumPy's .npy and .npz files, read without unpickling anything."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from .regular import require_regular

READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyHeaderError(ValueError):
    """A stream that does not begin with a .npy header; the message is the reason."""


class NpyHeader(NamedTuple):
    """Shape and dtype of the array that follows; is_transposed: in Fortran's order."""

    shape: tuple[int, ...]
    is_transposed: bool
    dtype: np.dtype


def read_npy_header(stream: IO[bytes]) -> NpyHeader:
    """Read the header at the beginning of a stream, which is left at the first value.

    Raises:
        NpyHeaderError: for anything that is no .npy file of version 1.0 or 2.0.
        ValueError: for a header that is damaged.
    """
    start = stream.read(np.lib.format.MAGIC_LEN)
    if not start:
        raise NpyHeaderError("empty file")
    if not start.startswith(np.lib.format.MAGIC_PREFIX):
        raise NpyHeaderError(f"not a NumPy array: it begins with {start.decode('latin-1')!r}")
    read = READERS.get((start[-2], start[-1]))
    if read is None:
        raise NpyHeaderError(f"version {start[-2]}.{start[-1]} of NumPy's format, expected 1.0 or 2.0")
    return NpyHeader(*read(stream))


def read_npz_headers(path: Path) -> dict[str, NpyHeader]:
    """Return the headers of the arrays in an .npz by name.

    Raises:
        ValueError: naming the file, for anything else, and for an array of objects.
    """
    with explain_npz_errors(path):
        require_regular(path)
    with explain_npz_errors(path), zipfile.ZipFile(path) as archive:
        headers = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as stream:
                    headers[name.removesuffix(".npy")] = header = read_npy_header(stream)
                if header.dtype.hasobject:
                    raise ValueError("an array of objects, which would have to be unpickled")
        return headers


@contextmanager
def explain_npz_errors(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into a ValueError of one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"no such file: {path}; check the path") from error
    except Exception as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160] or type(error).__name__
        raise ValueError(f"{path} cannot be read as .npz ({reason})") from error
