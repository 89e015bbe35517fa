"""Tables of images in a store, read as they are needed: parquet files, one row group at a time.

A row cannot be read without the row group that it is compressed with. So the source names the group of each row,
the order of training takes from a few groups at a time (`order.PositionedBatches`), and so do measurements
(`order.spread_items`).
"""

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ..files.digests import digest_lines
from ..files.documents import Document
from ..files.kept import kept
from .decode import BadImageError, Frame, decode_image, image_frame, one_line
from .fingerprint import Content
from .stores import Remote, StoreError
from .tables import (
    bytes_and_path,
    class_names,
    image_column,
    import_datasets,
    label_column,
    read_labels,
    require_alike,
    require_classes,
)
from .walk import BadFile

N_LANES = 32
"""How many row groups the order of training takes from at once."""

N_HELD = 2 * N_LANES  # row groups in the memory of a process: all lanes may be between two of them
N_READ_AT_ONCE = 8
LARGE = 4e9  # bytes

Key = TypeVar("Key")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableIndex:
    """What a table says of its row groups: in each, the number of rows, and the bytes of their images.

    image: the column of images, "" without one. schema: the types of all columns. labels: of all rows, in JSON; "" if
    they were not asked for, or have no column. classes: their names where the table gives them.
    """

    schema: str
    image: str
    n_rows: tuple[int, ...]
    n_bytes: tuple[int, ...]
    labels: str
    classes: tuple[str, ...]


INDEX = Document(TableIndex, "specmatch-table-1", "index", "delete it", sealed=True)


def read_indices(store: Remote, names: Sequence[str], what: str, *, labels: bool) -> dict[str, TableIndex | str]:
    """Read what tables in a store say of themselves, or was kept of it; a text is the reason why one cannot be read.

    what: names all of them in messages. labels: whether they are read too.

    Raises:
        ValueError: when labels are no classes, and where the store does not answer.
    """
    import_datasets(what)
    announce = cache(lambda: log.info("reading the footers%s of %s, once", " and labels" if labels else "", what))
    with ThreadPoolExecutor(N_READ_AT_ONCE) as pool:
        found = list(pool.map(lambda name: _index_or_reason(store, name, announce, labels=labels), names))
    return dict(zip(names, found, strict=True))


class StoredTables:
    """Rows of tables in a store, in their order; for the members see `sources.Source`.

    groups: the number of the row group of each row. indices: of tables that hold images, by their names in the store.
    what: names all of them in errors.

    Raises:
        ValueError: when tables have different columns, or labels that are no classes or have different names.
    """

    def __init__(self, store: Remote, indices: Mapping[str, TableIndex], what: str, *, labels: bool) -> None:
        self._store, self._indices = store, dict(indices)
        self._groups = [(name, group) for name, index in indices.items() for group in range(len(index.n_rows))]
        n_rows = [n for index in indices.values() for n in index.n_rows]
        self.groups: Sequence[int] | None = np.repeat(np.arange(len(n_rows)), n_rows).tolist()
        self._first = np.cumsum([0, *n_rows])  # item of each group's first row
        self.root = store.path("")
        self.names: Sequence[str] = [
            f"{name}:{row}" for name, index in indices.items() for row in range(sum(index.n_rows))
        ]
        require_alike(what, "columns", {name: index.schema for name, index in indices.items()})
        self.labels: Sequence[int] = [-1] * len(self.names)
        self.classes: tuple[str, ...] = ()
        if labels and any(index.labels for index in indices.values()):
            require_alike(what, "names of classes", {name: index.classes for name, index in indices.items()})
            values = [value for index in indices.values() for value in json.loads(index.labels)]
            known = next(iter(indices.values())).classes
            self.classes, self.labels = read_labels(values, known, f"{what}: labels")
        self.part = ""
        self.bad: tuple[BadFile, ...] = ()
        self.left_out: tuple[str, ...] = ()
        self._start_anew()
        n_held = min(N_HELD, len(n_rows))
        n_bytes = n_held * max((n for index in indices.values() for n in index.n_bytes), default=0)
        if n_bytes > LARGE:
            log.warning(
                "%s: its row groups are large, and a process that reads holds up to %d of them (%.0f GB): a local copy "
                "avoids this",
                what,
                n_held,
                n_bytes / 1e9,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it reads for itself."""
        return self.__dict__ | {"_held": {}, "_footers": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what another process knows."""
        self.__dict__ |= state
        self._start_anew()

    def _start_anew(self) -> None:
        """Forget what was read, by threads of which a forked process has none."""
        self._held: dict[int, Future[Any]] = {}
        self._footers: dict[str, Future[Any]] = {}
        self._lock, self._process = threading.Lock(), os.getpid()

    def frame(self, item: int) -> Frame:
        """Return size and orientation from the header."""
        return image_frame(self._payload(item))

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB."""
        return decode_image(self._payload(item))

    def content(self, item: int) -> Content:
        """Return a row's place and its table's version: to read bytes of each would be to read all."""
        name, _, row = self.names[item].rpartition(":")
        return self._store.content(name, int(row), 1)

    def _payload(self, item: int) -> bytes:
        group = int(np.searchsorted(self._first, item, side="right")) - 1
        rows = self._rows(group)
        if isinstance(rows, str):
            raise BadImageError(rows)
        content, path = bytes_and_path(rows[item - int(self._first[group])])
        if not content:
            raise BadImageError(f"the row names {path}, and holds no image" if path else "the row holds no image")
        return content

    def _rows(self, group: int) -> Any:
        """Return the images of a row group, or why there are none."""
        if self._process != os.getpid():
            self._start_anew()
        return self._once(self._held, group, lambda: self._read_group(*self._groups[group]), N_HELD)

    def _read_group(self, name: str, group: int) -> Any:
        import pyarrow  # type: ignore[import-untyped]

        try:
            footer = self._once(self._footers, name, lambda: _read_footer(self._store, name), len(self._indices))
            with _open(self._store, name, footer) as file:
                column = self._indices[name].image
                return file.read_row_group(group, columns=[column], use_threads=False).column(column)
        except BadImageError as error:
            return str(error)
        except (pyarrow.ArrowException, OSError) as error:
            return f"its row group cannot be read ({one_line(error)})"

    def _once(self, held: dict[Key, Future[Any]], key: Key, read: Callable[[], Any], most: int) -> Any:
        """Return what one of the threads that ask for it reads, and hold it among the `most` that were last used."""
        with self._lock:
            known = held.pop(key, None)
            asked = held[key] = known or Future()
            while len(held) > most:
                del held[next(iter(held))]
        if known is None:
            try:
                asked.set_result(read())
            except BaseException as error:  # a store that does not answer, or an interrupt: it may be asked for again
                with self._lock:
                    held.pop(key, None)
                asked.set_exception(error)
                raise
        return asked.result()


class _Ranges(io.RawIOBase):
    """A file in a store, each read of which is one request, made again where the store does not answer."""

    def __init__(self, store: Remote, name: str) -> None:
        self._store, self._name, self._size, self._position = store, name, store.size(name), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, n: int | None = -1) -> bytes:
        end = self._size if n is None or n < 0 else min(self._size, self._position + n)
        start, self._position = self._position, max(self._position, end)
        return self._store.read(self._name, start, end - start) if end > start else b""


def _open(store: Remote, name: str, metadata: Any = None) -> Any:
    """Open a table; metadata: its footer, if that was read before."""
    import pyarrow
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    return parquet.ParquetFile(pyarrow.PythonFile(_Ranges(store, name), mode="r"), metadata=metadata, pre_buffer=True)


def _read_footer(store: Remote, name: str) -> Any:
    with _open(store, name) as file:
        return file.metadata


def _index_or_reason(store: Remote, name: str, announce: Callable[[], None], *, labels: bool) -> TableIndex | str:
    """Return the index of a table, kept or read now, which is announced, or why there is none."""

    def read() -> TableIndex:
        announce()
        try:
            with _open(store, name) as file:
                return _read_index(file, store.path(name), labels=labels)
        except (StoreError, _NoClassesError):
            raise
        except Exception as error:  # of pyarrow, and of `datasets` for types that it does not know
            raise BadImageError(f"cannot be read as parquet ({one_line(error)})") from error

    try:
        key = digest_lines([store.path(name), store.version(name), str(labels)])
    except FileNotFoundError:
        return "it is not there"
    except Exception as error:  # each store has errors of its own
        return f"cannot be read ({store.fault(name, error)})"
    try:
        return kept(INDEX, "tables", key, read)
    except BadImageError as error:
        return str(error)


class _NoClassesError(ValueError):
    """Labels that are no classes."""


def _read_index(file: Any, what: str, *, labels: bool) -> TableIndex:
    features = import_datasets(what).Features.from_arrow_schema(file.schema_arrow)
    image, label = image_column(features) or "", label_column(features) if labels else None
    values = None
    if image and label:
        try:
            require_classes(file.schema_arrow.field(label).type, f"{what}: column {label!r}")
        except ValueError as error:
            raise _NoClassesError(str(error)) from error
        values = file.read(columns=[label]).column(label).to_pylist()
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    parts = [[group.column(number) for number in range(group.num_columns)] for group in groups]
    of_images = [[part for part in group if part.path_in_schema.split(".")[0] == image] for group in parts]
    return TableIndex(
        schema=str(features.type),
        image=image,
        n_rows=tuple(group.num_rows for group in groups),
        n_bytes=tuple(sum(part.total_uncompressed_size for part in group) for group in of_images),
        labels="" if values is None else json.dumps(values),
        classes=class_names(features) if label else (),
    )
