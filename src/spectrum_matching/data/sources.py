"""Sources of images: a folder of files, or a table of rows (parquet, hub), both read by number."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from ..files.digests import n_bytes
from .decode import BadImageError, decode_image, image_size, one_line
from .fingerprint import Content, buffer_content, file_content

if TYPE_CHECKING:
    import datasets

OTHER_SPLITS = {"val", "valid", "validation", "test"}


class Source(Protocol):
    """Images by number, each with a name and a label (-1: none)."""

    names: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    n_bytes: Sequence[int]

    def size(self, item: int) -> tuple[int, int]:
        """Return width and height from the header; raise BadImageError for an image that cannot be used."""

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB; raise BadImageError when it cannot be decoded."""

    def content(self, item: int) -> Content:
        """Return what the fingerprint takes of the image."""


def open_source(source: str) -> Source:
    """Open a folder, a parquet file or folder, or "hub:NAME[:SPLIT]" (SPLIT: train).

    Of a folder with a part named train and another named val, valid, validation or test, the train part is opened.

    Raises:
        ValueError: when there is nothing to open.
    """
    if source.startswith("hub:"):
        return _open_hub(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise ValueError(f'no such file or folder: {path}; check the path, or give hub:NAME or "embedded"')
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is neither a folder nor a .parquet file")
        return _open_parquet(path.parent, [path])
    if (path / "train").is_dir() and any((path / name).is_dir() for name in OTHER_SPLITS):
        path = path / "train"
    files = sorted(visible_files(path), key=lambda file: file.relative_to(path).as_posix())
    if not files:
        raise ValueError(f"{path} holds no files")
    tables = [file for file in files if file.suffix == ".parquet"]
    trains = [file for file in tables if file.name.startswith("train")]
    return _open_parquet(path, trains or tables) if tables else FolderSource(path, files)


class _Files:
    """Images decoded from files or their bytes."""

    def size(self, item: int) -> tuple[int, int]:
        return image_size(self._payload(item))

    def read(self, item: int) -> Image.Image:
        return decode_image(self._payload(item))

    def content(self, item: int) -> Content:
        raise NotImplementedError

    def _payload(self, item: int) -> bytes | Path:
        raise NotImplementedError


class FolderSource(_Files):
    """Every file below a folder but hidden ones.

    The classes are the folders in it, sorted; there are none when an image lies in the folder itself.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self.names: Sequence[str] = [file.relative_to(root).as_posix() for file in files]
        self.n_bytes: Sequence[int] = [n_bytes(file) for file in files]
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        is_flat = any("/" not in name and self._is_image(item) for item, name in enumerate(self.names))
        self.classes = () if is_flat else tuple(folders)
        ids = {name: label for label, name in enumerate(self.classes)}
        self.labels: Sequence[int] = [ids.get(name.split("/")[0], -1) for name in self.names]

    def content(self, item: int) -> Content:
        """Return what a fingerprint takes of a file."""
        return file_content(self._root / self.names[item])

    def _payload(self, item: int) -> Path:
        if self.n_bytes[item] == 0:
            raise BadImageError("empty file")
        return self._root / self.names[item]

    def _is_image(self, item: int) -> bool:
        try:
            return bool(self.size(item))
        except BadImageError:
            return False


class TableSource(_Files):
    """Rows of a data set: column `image` (bytes, or a struct of bytes and path) and, if there is one, `label`.

    Without columns of these names, the only image column and the only class column are used. Rows stay on disk,
    memory-mapped; workers reopen them.
    """

    def __init__(self, rows: "datasets.Dataset", names: Sequence[str]) -> None:
        import pyarrow.compute as compute  # type: ignore[import-untyped]

        self._rows = rows
        self._image = _column(rows, "image", "Image")
        if self._image is None:
            raise ValueError(f"no column 'image' among {', '.join(rows.column_names)}")
        self.names = names
        images = rows.data.column(self._image)
        payloads = compute.struct_field(images, "bytes") if images.type.num_fields else images
        lengths = compute.binary_length(payloads.cast("large_binary"))
        self.n_bytes: Sequence[int] = compute.fill_null(lengths, 0).to_pylist()
        label = _column(rows, "label", "ClassLabel")
        self.labels: Sequence[int] = [-1] * len(names)
        self.classes: tuple[str, ...] = ()
        if label is not None:
            self.labels = [-1 if value is None else value for value in rows.data.column(label).to_pylist()]
            self.classes = _class_names(rows.features[label], self.labels)

    def content(self, item: int) -> Content:
        """Return what a fingerprint takes of a row's bytes, or of the file that it names."""
        value = self._rows.data.column(self._image)[item]
        data = value["bytes"] if value.type.num_fields else value
        if data.is_valid:
            return buffer_content(memoryview(data.as_buffer()))
        path = value["path"].as_py() if value.type.num_fields > 1 else None
        return file_content(Path(path)) if path else Content(0)

    def _payload(self, item: int) -> bytes | Path:
        value = self._rows.data.column(self._image)[item].as_py()
        if isinstance(value, dict):
            value = value["bytes"] or (value.get("path") and Path(value["path"]))
        if not value:
            raise BadImageError("the row holds no image")
        return value


def visible_files(root: Path) -> Iterator[Path]:
    """Iterate over all files below a folder that are not hidden, nor in a hidden folder."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _open_parquet(root: Path, files: Sequence[Path]) -> TableSource:
    datasets = _import_datasets(str(files[0]))
    import pyarrow.parquet as parquet  # type: ignore[import-untyped]

    try:
        lengths = [parquet.ParquetFile(file).metadata.num_rows for file in files]
        rows = datasets.Dataset.from_parquet([str(file) for file in files])
    except Exception as error:
        raise ValueError(f"{files[0]} cannot be read as parquet: {type(error).__name__}: {one_line(error)}") from error
    names = [file.relative_to(root).as_posix() for file in files]
    return TableSource(rows, [f"{name}:{row}" for name, n in zip(names, lengths, strict=True) for row in range(n)])


def _open_hub(source: str) -> TableSource:
    name, _, split = source.removeprefix("hub:").partition(":")
    datasets = _import_datasets(source)
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:
        raise ValueError(
            f"hub data set {name!r} cannot be opened: {type(error).__name__}: {one_line(error)}"
        ) from error
    return TableSource(rows, [f"{name}:{split or 'train'}:{row}" for row in range(len(rows))])


def _import_datasets(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        remedy = "pip install 'spectrum-matching[data]'"
        raise ValueError(f"{source} needs the library `datasets`, which is not installed: {remedy}") from error
    return datasets


def _column(rows: "datasets.Dataset", name: str, kind: str) -> str | None:
    if name in rows.column_names:
        return name
    others = [column for column, feature in rows.features.items() if type(feature).__name__ == kind]
    return others[0] if len(others) == 1 else None


def _class_names(feature: Any, labels: Sequence[int]) -> tuple[str, ...]:
    if hasattr(feature, "names"):
        return tuple(feature.names)
    if all(isinstance(label, int) for label in labels):
        return tuple(str(label) for label in range(max(labels, default=-1) + 1))
    raise ValueError(f"column 'label' holds {feature}, expected whole numbers")
