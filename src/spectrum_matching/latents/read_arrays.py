"""Latents in one .npy or .npz file for each image, of which nothing is unpickled."""

import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch

from ..data.decode import one_line
from ..data.fingerprint import FileContents
from ..data.walk import BadFile
from ..files.npy import NpyHeader, NpyHeaderError, read_npy_header
from ..files.regular import require_regular
from ..files.threads import in_threads
from ..methods.models import LOGVAR_RANGE
from .latent_set import BadLatentError, LatentInfo, LatentRow, LatentSet, Layout

MOST_OF_OTHER_SHAPE = 0.05

Shape = tuple[int, ...]


class FileLatents(LatentSet):
    """Latents of which each lies in a file of its own, as moments (2c, h, w): the mean, then `second`.

    names: files below `root`. key: of the moments in an .npz, whose `KEY_flip` are those of the mirrored image, None in
    an .npy. Unusable files are left out, from their headers, and named in `info.bad`, after `unread`.

    Raises:
        ValueError: when no latent can be used, or shapes are mixed.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        info: LatentInfo,
        root: Path,
        names: Sequence[str],
        image_keys: Sequence[str | int | None],
        labels: Sequence[int],
        *,
        second: Literal["std", "logvar"],
        key: str | None = None,
        unread: Sequence[BadFile] = (),
        notes: tuple[str, ...],
    ) -> None:
        verdicts = in_threads(lambda item: _verdict(root / names[item], key), len(names))
        shape = _common_shape(root, verdicts)
        items = [item for item, verdict in enumerate(verdicts) if verdict == shape]
        bad = (
            *unread,
            *(
                BadFile(name, verdict if isinstance(verdict, str) else f"shape {verdict}, the others have {shape}")
                for name, verdict in zip(names, verdicts, strict=True)
                if verdict != shape
            ),
        )
        if not items:
            raise ValueError(f"{root}: no latent can be read ({bad[0]})")
        self._root, self._shape, self._second, self._key = root, shape, second, key
        self._names, self._labels = [names[item] for item in items], [labels[item] for item in items]
        info = replace(info, channels=shape[0] // 2, grid=(shape[1], shape[2]), bad=bad)
        super().__init__(folder, layout, info, [image_keys[item] for item in items], notes, FileContents(root, names))

    def name(self, row: int) -> str:
        """Return the file of a row, relative to the folder of the files."""
        return self._names[row]

    def read(self, row: int, is_mirrored: bool = False) -> LatentRow:
        """Read a file; see `LatentSet.read`."""
        moments = read_array(self._root / self._names[row], f"{self._key}_flip" if is_mirrored else self._key)
        if moments.shape != self._shape:
            raise BadLatentError(f"shape {moments.shape}, the others have {self._shape}")
        with np.errstate(over="ignore"):
            mean, second = np.split(moments.astype(np.float32), 2)
        if not np.isfinite(mean).all() or not np.isfinite(second).all():
            raise BadLatentError("holds NaN or infinite values")
        if self._second == "std":
            if (second < 0).any():
                raise BadLatentError("negative standard deviations; does it hold log-variances?")
            with np.errstate(divide="ignore"):
                second = 2 * np.log(second)
        logvar = torch.from_numpy(second.clip(*LOGVAR_RANGE))
        return LatentRow(torch.from_numpy(mean.copy()), logvar, self._labels[row], self.image_keys[row])

    def _read_labels(self) -> Sequence[int]:
        return self._labels


def array_shape(path: Path, key: str | None = None) -> Shape:
    """Return the shape of an .npy, or of an array of an .npz, from headers alone.

    Raises:
        BadLatentError: when there is no such array of floating-point numbers, or the file is damaged or cut off.
    """
    with _open(path, key) as (header, _):
        return header.shape


def read_array(path: Path, key: str | None = None) -> np.ndarray:
    """Return an .npy, or an array of an .npz; errors as of `array_shape`."""
    with _open(path, key) as (header, stream):
        flat = np.frombuffer(stream.read(), header.dtype)
        return flat.reshape(header.shape[::-1]).T if header.is_transposed else flat.reshape(header.shape)


@contextmanager
def _open(path: Path, key: str | None) -> Iterator[tuple[NpyHeader, IO[bytes]]]:
    """Open an array behind its header; turn whatever a parser raises on a damaged file into a BadLatentError."""
    try:
        require_regular(path)
        if key is None:
            with path.open("rb") as stream:
                yield _read_header(stream, path.stat().st_size), stream
        else:
            with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
                yield _read_header(member, archive.getinfo(f"{key}.npy").file_size), member
    except (BadLatentError, NpyHeaderError) as error:
        raise BadLatentError(str(error)) from error
    except Exception as error:
        reason = getattr(error, "strerror", None)
        raise BadLatentError(reason or f"truncated or corrupt ({one_line(error)})") from error


def _read_header(stream: IO[bytes], length: int) -> NpyHeader:
    header = read_npy_header(stream)
    if header.dtype.kind != "f":
        raise BadLatentError(f"holds {header.dtype}, expected floating-point numbers")
    n, expected = length - stream.tell(), math.prod(header.shape) * header.dtype.itemsize
    if n != expected:
        raise BadLatentError(f"truncated: {n} bytes of numbers, the header announces {expected}")
    return header


def _verdict(path: Path, key: str | None) -> Shape | str:
    """Return the shape of the moments, or a reason against the file."""
    try:
        shape = array_shape(path, key)
    except BadLatentError as error:
        return str(error)
    if len(shape) != 3 or shape[0] % 2 or 0 in shape:
        return f"shape {shape}, expected (2 x channels, height, width)"
    return shape


def _common_shape(root: Path, verdicts: Sequence[Shape | str]) -> Shape:
    """Return the shape of nearly all files, () where no file has one."""
    counts = Counter(verdict for verdict in verdicts if isinstance(verdict, tuple))
    shape = counts.most_common(1)[0][0] if counts else ()
    if counts.total() - counts[shape] > MOST_OF_OTHER_SHAPE * counts.total():
        shapes = ", ".join(f"{n} of {shape}" for shape, n in counts.most_common(3))
        raise ValueError(f"{root}: mixed shapes ({shapes}); keep latents of one shape in a folder")
    return shape
