"""Tables of images: parquet files, and data sets of the hub."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from ..files.digests import digest_lines
from .decode import BadImageError, Frame, decode_image, image_frame, one_line
from .fingerprint import Content, buffer_content, file_content
from .labels import REMEDY, number_labels
from .pieces import choose_pieces
from .summary import counted
from .walk import BadFile, Listing

if TYPE_CHECKING:
    import datasets

TABLE = ".parquet"
HUB = "hub:"
NO_LABEL = -1  # as tables of the hub mark it


class TableSource:
    """Rows of tables: column `image` (bytes, or a struct of bytes and path) and, if asked for, `label`.

    Without columns of these names, the only image column and the only class column are used. Rows stay on disk,
    memory-mapped; workers reopen them. For its members see `sources.Source`.

    what: names the tables in errors. folders: a file that a row names is opened only if it lies in one of them, a
    relative path being of the first.

    Raises:
        ValueError: when there is no image column, or when labels are asked for and their column holds no classes.
    """

    groups: Sequence[int] | None = None

    def __init__(
        self,
        rows: "datasets.Dataset",
        root: str,
        names: Sequence[str],
        what: str,
        folders: Sequence[Path],
        *,
        labels: bool,
    ) -> None:
        image = image_column(rows.features)
        if image is None:
            raise ValueError(f"{what}: no column 'image' of images among {', '.join(rows.column_names)}")
        self._rows, self._image, self.root, self.names = rows, image, root, names
        self._folders = [Path(given(folder)) for folder in folders for given in (os.path.abspath, os.path.realpath)]
        label = label_column(rows.features) if labels else None
        self.labels: Sequence[int] = [-1] * len(names)
        self.classes: tuple[str, ...] = ()
        if label is not None:
            values, known = rows.data.column(label), class_names(rows.features)
            of = f"{what}: column {label!r}"
            require_classes(values.type, of)
            self.classes, self.labels = read_labels(values.to_pylist(), known, of)
        self.part = ""
        self.bad: tuple[BadFile, ...] = ()
        self.left_out: tuple[str, ...] = ()

    def frame(self, item: int) -> Frame:
        """Return size and orientation from the header."""
        return image_frame(self._payload(item))

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB."""
        return decode_image(self._payload(item))

    def content(self, item: int) -> Content:
        """Return what a fingerprint takes of a row's bytes, or of the file that it names."""
        value = self._rows.data.column(self._image)[item]
        data = value["bytes"] if value.type.num_fields else value
        if data.is_valid:
            return buffer_content(memoryview(data.as_buffer()))
        try:
            file = self._payload(item)
        except BadImageError:
            return Content(-1)
        return file_content(file) if isinstance(file, Path) else Content(-1)

    def _payload(self, item: int) -> bytes | Path:
        content, path = bytes_and_path(self._rows.data.column(self._image)[item])
        if content:
            return content
        if not path:
            raise BadImageError("the row holds no image")
        # A table from elsewhere must not read other files of its reader into a page or a cache.
        file = Path(os.path.normpath(self._folders[0] / path))
        if not any(file.is_relative_to(folder) for folder in self._folders):
            raise BadImageError(f"the row names {path}, which lies outside of {self._folders[0]}")
        return file


class Table(NamedTuple):
    """A parquet file that holds images: its name below a folder, its number of rows, and its columns."""

    name: str
    n_rows: int
    features: Any


class Tables(NamedTuple):
    """Parquet files: those that hold images, the columns of others by name, and those that cannot be read."""

    holding: list[Table]
    others: dict[str, list[str]]
    bad: tuple[BadFile, ...]


def read_tables(root: Path, names: Iterable[str]) -> Tables:
    """Read the footers of parquet files below a folder."""
    found = Tables([], {}, ())
    bad = []
    for name in names:
        datasets = import_datasets(str(root / name))
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]

        try:
            with parquet.ParquetFile(root / name) as file:
                n_rows, features = file.metadata.num_rows, datasets.Features.from_arrow_schema(file.schema_arrow)
        except Exception as error:
            bad.append(BadFile(name, f"cannot be read as parquet ({one_line(error)})"))
            continue
        if image_column(features) is None:
            found.others[name] = list(features)
        else:
            found.holding.append(Table(name, n_rows, features))
    return found._replace(bad=tuple(bad))


def open_tables(listing: Listing, tables: Sequence[Table], *, labels: bool) -> TableSource:
    """Open the tables of a folder that hold images as one, or of training parts beside others these alone.

    Raises:
        ValueError: naming the choices, when they are not the pieces of one table.
    """
    pieces = choose_pieces(str(listing.root), [table.name for table in tables], listing.names, "table")
    taken = [table for table in tables if table.name in set(pieces.names)]
    require_alike(str(listing.root), "columns", {table.name: table.features.type for table in taken})
    if labels:
        require_alike(
            str(listing.root), "names of classes", {table.name: class_names(table.features) for table in taken}
        )
    source = open_parquet(listing.root, taken, labels=labels)
    source.part = pieces.part
    source.left_out = (*pieces.left_out, *counted(listing.again, "second name", "second names"))
    source.bad = listing.unread
    return source


def open_parquet(root: Path, tables: Sequence[Table], *, labels: bool) -> TableSource:
    """Open the pieces of one table.

    Raises:
        ValueError: when they cannot be read.
    """
    files = [str(root / table.name) for table in tables]
    what = files[0] if len(files) == 1 else f"{root} ({len(files)} tables)"
    datasets = import_datasets(what)
    # The library names its copy of a table by path and time alone, and would read that of a table since replaced.
    contents = (file_content(Path(file)) for file in files)
    held = digest_lines([f"{content.n_bytes} {content.digest.hex()}" for content in contents])
    copies = Path(datasets.config.HF_DATASETS_CACHE) / f"specmatch-{held}"
    try:
        rows = datasets.Dataset.from_parquet(files, cache_dir=str(copies))
    except Exception as error:
        raise ValueError(f"{what} cannot be read as parquet: {type(error).__name__}: {one_line(error)}") from error
    names = [f"{table.name}:{row}" for table in tables for row in range(table.n_rows)]
    if len(rows) != len(names):
        raise ValueError(f"{what} has {len(names):,} rows, and its copy in {copies} has {len(rows):,}: delete the copy")
    return TableSource(rows, str(root), names, what, [root], labels=labels)


def open_hub(source: str, *, labels: bool) -> TableSource:
    """Open "hub:NAME[:SPLIT]".

    Raises:
        ValueError: when there is no such data set or split, or no way to it.
    """
    name, split = name_and_split(source)
    datasets = import_datasets(source)
    with _explaining(name):
        rows = datasets.load_dataset(name, split=split)
    from huggingface_hub.constants import HF_HUB_CACHE

    # Images that were downloaded as files lie in the library's folders, or in the one that is named.
    folders = [Path(folder).expanduser() for folder in (datasets.config.HF_DATASETS_CACHE, HF_HUB_CACHE)]
    folders += [path] if (path := Path(name)).is_dir() else []
    names = [f"{name}:{split}:{row}" for row in range(len(rows))]
    return TableSource(rows, HUB, names, source, folders, labels=labels)


def hub_files(source: str) -> list[str]:
    """Return the URLs, or paths, of the files of "stream:NAME[:SPLIT]", downloading none.

    Raises:
        ValueError: when there is no such data set or split, or no way to it.
    """
    name, split = name_and_split(source)
    with _explaining(name):
        files = import_datasets(source).load_dataset_builder(name).config.data_files or {}
    if split not in files:
        raise ValueError(f"hub data set {name!r} has no split {split!r}: give one of {', '.join(map(str, files))}")
    return list(map(str, files[split]))


def name_and_split(source: str) -> tuple[str, str]:
    """Return name and split of "hub:NAME[:SPLIT]" or "stream:NAME[:SPLIT]"."""
    name, _, split = source.partition(":")[2].partition(":")
    return name, split or "train"


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Turn any error of the library of data sets into a ValueError of one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"hub data set {name!r} cannot be opened: {type(error).__name__}: {one_line(error)}"
        ) from error


def import_datasets(source: str) -> Any:
    """Import the library `datasets`.

    Raises:
        ValueError: when it is not installed; source: what needs it.
    """
    try:
        import datasets
    except ImportError as error:
        remedy = "pip install 'spectrum-matching[data]'"
        raise ValueError(f"{source} needs the library `datasets`, which is not installed: {remedy}") from error
    return datasets


def image_column(features: Any) -> str | None:
    """Return the name of the column of images, None without one."""
    import pyarrow

    column = _column(features, "image", "Image")
    if column is None:
        return None
    kind = features.arrow_schema.field(column).type
    is_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    return column if is_bytes or (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0) else None


def label_column(features: Any) -> str | None:
    """Return the name of the column of labels, None without one."""
    return _column(features, "label", "ClassLabel")


def class_names(features: Any) -> tuple[str, ...]:
    """Return the names that a table gives to numbers in its column of labels, if any."""
    label = label_column(features)
    return tuple(getattr(features[label], "names", ())) if label else ()


def require_alike(what: str, kind: str, values: Mapping[str, object]) -> None:
    """Raise ValueError where tables, by name, differ from the first in a kind of value; what: names all of them."""
    for name, value in values.items():
        if value != values[first := next(iter(values))]:
            raise ValueError(f"{what}: {first} and {name} have different {kind}: give one of them")


def bytes_and_path(cell: Any) -> tuple[bytes, str | None]:
    """Return the bytes of an image and the file that it names, from a cell of Arrow; b"" and None where they lack."""
    value = cell.as_py()
    content, path = (value["bytes"], value.get("path")) if isinstance(value, dict) else (value, None)
    return bytes(content or b""), path


def require_classes(kind: Any, what: str) -> None:
    """Raise ValueError for a column of labels whose type is neither a whole number nor a text."""
    from pyarrow import types

    is_text = types.is_string(kind) or types.is_large_string(kind)
    if not (is_text or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)):
        raise ValueError(f"{what} holds {kind}, which is not a class: a whole number or a text is; {REMEDY}")


def read_labels(values: Sequence[Any], known: Sequence[str], what: str) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of the classes that occur, and the label of each row; known: names of numbers, perhaps none."""
    classes, labels = number_labels([None if value == NO_LABEL else value for value in values], what)
    return tuple(known[int(name)] if known and int(name) < len(known) else name for name in classes), labels


def _column(features: Any, name: str, kind: str) -> str | None:
    if name in features:
        return name
    others = [column for column, feature in features.items() if type(feature).__name__ == kind]
    return others[0] if len(others) == 1 else None
