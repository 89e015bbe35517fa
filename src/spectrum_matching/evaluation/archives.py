"""The .npz files of the field: ADM's samples and reference batches, pytorch-fid's statistics. Nothing is unpickled."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from .shares import Numbered

IMAGES = "arr_0"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class ArrayHeader(NamedTuple):
    """What an archive says of one of its arrays."""

    shape: tuple[int, ...]
    is_transposed: bool
    dtype: np.dtype


def read_headers(path: Path) -> dict[str, ArrayHeader]:
    """The arrays of an .npz by name, from headers alone; ValueError for anything else."""
    with _blamed(path), zipfile.ZipFile(path) as archive:
        found = {}
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as stream:
                    found[name.removesuffix(".npy")] = _header(stream)
        return found


def read_moments(path: Path, mean: str, covariance: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two arrays in float64, (d,) and (d, d); ValueError where they are none."""
    with _blamed(path), np.load(path, allow_pickle=False) as archive:
        arrays = [torch.from_numpy(np.asarray(archive[name], dtype=np.float64)) for name in (mean, covariance)]
    if arrays[0].ndim != 1 or arrays[1].shape != (len(arrays[0]),) * 2 or not all(a.isfinite().all() for a in arrays):
        shapes = " and ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"{path}: {mean} and {covariance} are {shapes}, expected finite moments (d,) and (d, d)")
    return arrays[0], arrays[1]


def archived_images(
    path: Path, batch_size: int, n: int | None = None, *, rank: int = 0, world: int = 1
) -> Iterator[Numbered]:
    """The images of `arr_0`, batch by batch: memory does not grow with their number. As `share_of` divides them.

    ValueError, before the first, unless it is uint8 (n, size, size, 3).
    """
    header = read_headers(path).get(IMAGES)
    if header is None:
        raise ValueError(f"{path} has no {IMAGES}: expected an .npz of images as ADM's evaluator takes it")
    if header.dtype != np.uint8 or len(header.shape) != 4 or header.shape[3] != 3 or header.is_transposed:
        raise ValueError(f"{path}: {IMAGES} is {header.dtype} {header.shape}, expected uint8 (n, size, size, 3)")
    if header.shape[1] != header.shape[2] or 0 in header.shape:
        raise ValueError(f"{path}: {IMAGES} is {header.shape}, expected square images, at least one")
    return _pixels(path, header.shape, batch_size, n, rank, world)


def _pixels(
    path: Path, shape: tuple[int, ...], batch_size: int, n: int | None, rank: int, world: int
) -> Iterator[Numbered]:
    n_bytes, n = shape[1] * shape[2] * shape[3], shape[0] if n is None else min(n, shape[0])
    with _blamed(path), zipfile.ZipFile(path) as archive, archive.open(f"{IMAGES}.npy") as stream:
        _header(stream)
        begin = stream.tell()
        for start in range(rank * batch_size, n, world * batch_size):
            numbers = range(start, min(start + batch_size, n))
            stream.seek(begin + start * n_bytes)
            data = stream.read(len(numbers) * n_bytes)
            if len(data) != len(numbers) * n_bytes:
                raise ValueError(f"{path} is cut off within image {start + len(data) // n_bytes} of {shape[0]}")
            pixels = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(len(numbers), *shape[1:])
            yield Numbered(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, numbers)


def _header(stream: Any) -> ArrayHeader:
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version} of NumPy's format")
    header = ArrayHeader(*HEADERS[version](stream))
    if header.dtype.hasobject:
        raise ValueError("an array of objects, which would have to be unpickled")
    return header


class _blamed:  # noqa: N801
    """Whatever a parser raises on a damaged file is a ValueError that names it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not str(error).startswith(str(self._path)):
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160] or type(error).__name__
            raise ValueError(f"{self._path} cannot be read as .npz ({reason})") from error
