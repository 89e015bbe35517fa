"""Sources of images: what a folder, a table or a data set of the hub is taken for, by one rule (docs/images.md)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from .decode import Frame
from .fingerprint import Content
from .folders import FolderSource, find_images
from .summary import counted, listed, summary
from .tables import TABLE, Tables, TableSource, open_hub, open_parquet, open_tables, read_tables
from .walk import BadFile, walk

REVISION = re.compile(r"[0-9a-f]{7,40}")


class Source(Protocol):
    """Images by number, each with a name and a label (-1: none).

    part: the training part that was taken, "" where there are no parts. bad: files that opening finds unusable;
    left_out: what else was not taken, in phrases such as "2 tables (a.parquet, b.parquet)".
    """

    names: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    part: str
    bad: tuple[BadFile, ...]
    left_out: tuple[str, ...]

    def frame(self, item: int) -> Frame:
        """Return size and orientation from the header; raise BadImageError for an image that cannot be used."""

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB; raise BadImageError when it cannot be decoded."""

    def content(self, item: int) -> Content:
        """Return what the fingerprint takes of the image."""


def open_source(source: str, *, labels: bool | None = True) -> Source:
    """Open a folder, a parquet file or folder, or "hub:NAME[:SPLIT]" (SPLIT: train), reading no image.

    labels: whether they are asked for; otherwise there are none, and no column is taken for them. None: those of class
    folders, if these can be classes, since they cost nothing.

    Raises:
        ValueError: when there is nothing to open, or a choice is to be made, which is named.
    """
    if source.startswith("hub:"):
        return open_hub(source, labels=bool(labels))
    path = Path(source).expanduser()
    if not source:
        raise ValueError('the name of the images is empty: give a folder, a parquet file, hub:NAME or "embedded"')
    if not path.exists():
        raise ValueError(f'no such file or folder: {path}; check the path, or give hub:NAME or "embedded"')
    if path.is_dir():
        return _open_folder(_snapshot(path), labels)
    if path.suffix.lower() != TABLE or not path.is_file():
        raise ValueError(f"{path} is neither a folder nor a {TABLE} file")
    tables = read_tables(path.parent, [path.name])
    if not tables.holding:
        raise _nothing_in(path.parent, tables)
    return open_parquet(path.parent, tables.holding, labels=bool(labels))


def describe(name: str, source: Source) -> str:
    """Return the line that says what a source holds, and what was left out."""
    return summary(
        name,
        part=source.part,
        n_classes=len(source.classes),
        n_images=len(source.names),
        left_out=source.left_out,
        bad=[file.name for file in source.bad],
    )


def _open_folder(root: Path, labels: bool | None) -> Source:
    listing = walk(root)
    is_table = {name: name.lower().endswith(TABLE) for name in listing.names}
    images = find_images(root, [name for name in listing.names if not is_table[name]])
    tables = read_tables(root, [name for name in listing.names if is_table[name]])
    if images and tables.holding:
        held = [table.name for table in tables.holding]
        both = *counted(held, "table of images", "tables of images"), *counted(images, "image file", "image files")
        raise ValueError(f"{root} holds {' and '.join(both)}: give the path of a table, or a folder of images alone")
    source: FolderSource | TableSource
    if tables.holding:
        source = open_tables(listing, tables.holding, labels=bool(labels))
    else:
        source = FolderSource(listing, images, labels=labels)
    chosen = set(images)
    others = [name for name in listing.names if not is_table[name] and name not in chosen]
    if not source.names:
        raise _nothing_in(root, tables, source.bad, others)
    source.bad += tables.bad
    source.left_out += (
        *counted([*tables.others], "table without images", "tables without images"),
        *counted(others, "other file", "other files"),
    )
    return source


def _snapshot(root: Path) -> Path:
    """Return a folder, or of the hub's cache of a data set its snapshot: all else there has no names.

    Raises:
        ValueError: naming the snapshots, when there are several and none is that of the main branch.
    """
    if not (root / "blobs").is_dir() or not (root / "snapshots").is_dir():
        return root
    snapshots = {path.name: path for path in sorted((root / "snapshots").iterdir()) if REVISION.fullmatch(path.name)}
    main = root / "refs" / "main"
    revision = main.read_text(errors="replace").strip() if main.is_file() else ""
    if revision in snapshots or len(snapshots) == 1:
        return snapshots.get(revision) or next(iter(snapshots.values()))
    if snapshots:
        raise ValueError(f"{root} holds several snapshots: give one of {', '.join(map(str, snapshots.values()))}")
    return root


def _nothing_in(root: Path, tables: Tables, bad: Sequence[BadFile] = (), others: Sequence[str] = ()) -> ValueError:
    """Return the error of a source without images, which names the first files that are none, and why."""
    reasons = [str(file) for file in (*bad, *tables.bad)]
    reasons += [f"{name}: no column 'image' of images among {listed(names)}" for name, names in tables.others.items()]
    reasons += [f"{name}: not an image" for name in others]
    return ValueError(f"{root} holds no images" + (f" ({listed(reasons, '; ')})" if reasons else ""))
