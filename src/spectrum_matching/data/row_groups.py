"""Tables of images in a store, read as they are needed: parquet files, one group of rows at a time.

A row cannot be read without the group of rows that it is compressed with. So the source names the group of each row,
the order of training takes from a few groups at a time (`order.PositionedBatches`), and measurements choose whole
groups (`order.spread_items`).
"""

import io
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from ..files.digests import digest_lines
from ..files.documents import Document
from ..files.kept import kept
from .decode import BadImageError, Frame, decode_image, image_frame, one_line
from .fingerprint import Content
from .stores import Remote
from .tables import image_column, import_datasets, label_column, read_labels, require_classes
from .walk import BadFile

N_LANES = 32
"""How many groups of rows the order of training takes from at once."""

N_HELD = N_LANES + 8  # groups of rows in the memory of a process
N_READ_AT_ONCE = 8
LARGE = 4e9  # bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableIndex:
    """What a table says of its rows: in each group how many there are, and the bytes of their images.

    image: the column of images, "" without one. schema: columns and their types. labels: of all rows, in JSON; "" if
    they were not asked for, or have no column. classes: their names where the table gives them.
    """

    schema: str
    image: str
    n_rows: tuple[int, ...]
    n_bytes: tuple[int, ...]
    labels: str
    classes: tuple[str, ...]


INDEX = Document(TableIndex, "specmatch-table-1", "index", "delete it", sealed=True)


class StoredTables:
    """Rows of tables in a store, in their order; for the members see `sources.Source`.

    groups: the number of the group of each row. names: of the tables in the store; those without images are left out.
    what: names all of them in errors.

    Raises:
        ValueError: when tables have different columns, when labels are asked for and are no classes, and where the
            store does not answer.
    """

    def __init__(self, store: Remote, names: Sequence[str], what: str, *, labels: bool) -> None:
        import_datasets(what)
        announce = cache(lambda: log.info("reading the footers%s of %s, once", " and labels" if labels else "", what))
        with ThreadPoolExecutor(N_READ_AT_ONCE) as pool:
            found = list(pool.map(lambda name: _index_or_reason(store, name, announce, labels=labels), names))
        indices = {name: index for name, index in zip(names, found, strict=True) if isinstance(index, TableIndex)}
        self.bad = tuple(BadFile(name, why) for name, why in zip(names, found, strict=True) if isinstance(why, str))
        self.without_images = [name for name, index in indices.items() if not index.image]
        self._store, self._indices = store, {name: index for name, index in indices.items() if index.image}
        self._require_one_schema(what)
        self._groups = [(name, group) for name, index in self._indices.items() for group in range(len(index.n_rows))]
        n_rows = [n for index in self._indices.values() for n in index.n_rows]
        self.groups: Sequence[int] | None = np.repeat(np.arange(len(n_rows)), n_rows).tolist()
        self._first = np.cumsum([0, *n_rows])  # item of each group's first row
        self.names: Sequence[str] = [
            f"{name}:{row}" for name, index in self._indices.items() for row in range(sum(index.n_rows))
        ]
        self.labels: Sequence[int] = [-1] * len(self.names)
        self.classes: tuple[str, ...] = ()
        if labels and any(index.labels for index in self._indices.values()):
            values = [value for index in self._indices.values() for value in json.loads(index.labels)]
            classes = next(iter(self._indices.values())).classes
            self.classes, self.labels = read_labels(values, classes, f"{what}: labels")
        self.part = ""
        self.left_out: tuple[str, ...] = ()
        self._held: dict[int, Future[Any]] = {}
        self._files: dict[str, Any] = {}
        self._lock = threading.Lock()
        n_held = min(N_HELD, len(n_rows))
        n_bytes = n_held * max((n for index in self._indices.values() for n in index.n_bytes), default=0)
        if n_bytes > LARGE:
            log.warning(
                "%s: its groups of rows are large, and a process that reads holds up to %d of them (%.0f GB): a copy "
                "on a disk needs no such memory",
                what,
                n_held,
                n_bytes / 1e9,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it reads for itself."""
        return self.__dict__ | {"_held": {}, "_files": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what another process knows."""
        self.__dict__ |= state | {"_lock": threading.Lock()}

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
        value = self._rows(group)[item - int(self._first[group])].as_py()
        content, path = (value["bytes"], value.get("path")) if isinstance(value, dict) else (value, None)
        if not content:
            raise BadImageError(f"the row names {path}, and holds no image" if path else "the row holds no image")
        return bytes(content)

    def _rows(self, group: int) -> Any:
        """Return the images of a group of rows, which one of the threads that ask for it reads."""
        with self._lock:
            known = self._held.pop(group, None)
            asked = self._held[group] = known or Future()  # the last one that was used lies last
            while len(self._held) > N_HELD:
                del self._held[next(iter(self._held))]
        if known is None:
            try:
                asked.set_result(self._read_group(*self._groups[group]))
            except Exception as error:
                with self._lock:
                    self._held.pop(group, None)
                asked.set_exception(error)
        return asked.result()

    def _read_group(self, name: str, group: int) -> Any:
        import pyarrow  # type: ignore[import-untyped]

        try:
            with self._lock:
                metadata = self._files.get(name)
            with _open(self._store, name, metadata) as file:
                with self._lock:
                    self._files[name] = file.metadata
                column = self._indices[name].image
                return file.read_row_group(group, columns=[column], use_threads=False).column(column)
        except (pyarrow.ArrowException, OSError) as error:
            raise BadImageError(f"its group of rows cannot be read ({one_line(error)})") from error

    def _require_one_schema(self, what: str) -> None:
        schemas = {name: index.schema for name, index in self._indices.items()}
        for name, schema in schemas.items():
            if schema != schemas[first := next(iter(schemas))]:
                raise ValueError(f"{what}: {first} and {name} have different columns: give one of them")


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


def _index_or_reason(store: Remote, name: str, announce: Callable[[], None], *, labels: bool) -> TableIndex | str:
    """Return the index of a table, kept or read now, which is announced, or why there is none."""
    import pyarrow

    def read() -> TableIndex:
        announce()
        with _open(store, name) as file:
            return _read_index(file, store.path(name), labels=labels)

    try:
        return kept(INDEX, "tables", digest_lines([store.path(name), store.version(name), str(labels)]), read)
    except (BadImageError, pyarrow.ArrowException) as error:
        return f"cannot be read as parquet ({one_line(error)})"
    except FileNotFoundError:
        return "it is not there"
    except ValueError:  # a store that does not answer, or labels that are no classes
        raise
    except Exception as error:  # each store has errors of its own
        return f"cannot be read ({store.fault(name, error)})"


def _read_index(file: Any, what: str, *, labels: bool) -> TableIndex:
    features = import_datasets(what).Features.from_arrow_schema(file.schema_arrow)
    image, label = image_column(features) or "", label_column(features) if labels else None
    values = None
    if image and label:
        require_classes(file.schema_arrow.field(label).type, f"{what}: column {label!r}")
        values = file.read(columns=[label]).column(label).to_pylist()
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    parts = [[group.column(number) for number in range(group.num_columns)] for group in groups]
    of_images = [[part for part in group if part.path_in_schema.split(".")[0] == image] for group in parts]
    return TableIndex(
        schema=json.dumps({name: str(kind) for name, kind in features.items()}, sort_keys=True),
        image=image,
        n_rows=tuple(group.num_rows for group in groups),
        n_bytes=tuple(sum(part.total_uncompressed_size for part in group) for group in of_images),
        labels="" if values is None else json.dumps(values),
        classes=tuple(getattr(features[label], "names", ()) if label else ()),
    )
