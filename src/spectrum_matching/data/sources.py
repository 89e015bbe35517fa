"""Sources of images: what a folder, a table, a tar, a URL or a data set of the hub is taken for (docs/images.md)."""

import posixpath
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from PIL import Image

from .decode import Frame
from .fingerprint import Content
from .folders import FolderSource, find_images
from .pieces import Pieces, choose_pieces
from .row_groups import StoredTables, TableIndex, read_indices
from .stores import STREAM, Folder, Remote, is_url, list_urls, open_system
from .summary import counted, listed, summary
from .tables import HUB, TABLE, Tables, TableSource, hub_files, open_hub, open_parquet, open_tables, read_tables
from .tars import TAR, TarSource
from .walk import BadFile, Listing, walk

Packed = TypeVar("Packed", bound=TarSource | StoredTables)
WITHOUT_IMAGES = "table without images", "tables without images"
REVISION = re.compile(r"[0-9a-f]{7,40}")


class Source(Protocol):
    """Images by number, each with a name and a label (-1: none).

    root: a folder, or a URL, that names are relative to. groups: as in `Contents`. part: the training part that was
    taken, "" where there are no parts. bad: files that opening finds unusable; left_out: what else was not taken, in
    phrases such as "2 tables (a.parquet, b.parquet)".
    """

    root: str
    names: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    groups: Sequence[int] | None
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
    """Open a folder, a parquet file, a tar, a URL of these, or a data set of the hub, reading no image.

    "hub:NAME[:SPLIT]" is downloaded, "stream:NAME[:SPLIT]" is read in place; SPLIT is train by default.

    labels: whether they are asked for; otherwise there are none, and no column is taken for them. None: those of class
    folders, if these can be classes, since they cost nothing.

    Raises:
        ValueError: when there is nothing to open, or a choice is to be made, which is named.
    """
    if source.startswith(HUB):
        return open_hub(source, labels=bool(labels))
    if source.startswith(STREAM):
        return _open_stored(source, *_located(hub_files(source)), labels=bool(labels), is_one_set=True)
    if is_url(source):
        return _open_url(source, labels=bool(labels))
    path = Path(source).expanduser()
    if not source:
        raise ValueError('the name of the images is empty: give a folder, a parquet file, hub:NAME or "embedded"')
    if not path.exists():
        raise ValueError(f'no such file or folder: {path}; check the path, or give hub:NAME or "embedded"')
    if path.is_dir():
        return _open_folder(_snapshot(path), labels)
    if path.suffix.lower() not in (TABLE, TAR) or not path.is_file():
        compressed = "; a compressed tar is to be unpacked first" if TAR in path.suffixes else ""
        raise ValueError(f"{path} is neither a folder nor a {TABLE} or {TAR} file{compressed}")
    if path.suffix.lower() == TAR:
        return _require_images(str(path), TarSource(Folder(path.parent), [path.name], str(path), labels=bool(labels)))
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
    kinds: dict[str, list[str]] = {TABLE: [], TAR: [], "": []}
    for name in listing.names:
        suffix = posixpath.splitext(name)[1].lower()
        kinds[suffix if suffix in kinds else ""].append(name)
    tars, images, tables = kinds[TAR], find_images(root, kinds[""]), read_tables(root, kinds[TABLE])
    if tars and not images and not tables.holding:
        return _open_tars(listing, tars, labels=bool(labels))
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
    others = [name for name in kinds[""] if name not in chosen]
    if not source.names:
        raise _nothing_in(root, tables, source.bad, others)
    source.bad += tables.bad
    source.left_out += (
        *counted([*tables.others], *WITHOUT_IMAGES),
        *counted(tars, "tar", "tars"),
        *counted(others, "other file", "other files"),
    )
    return source


def _open_tars(listing: Listing, tars: Sequence[str], *, labels: bool) -> TarSource:
    """Open the tars of a folder that holds no images beside them."""
    root = str(listing.root)
    pieces = choose_pieces(root, tars, listing.names, "tar")
    source = TarSource(Folder(listing.root), pieces.names, root, labels=labels)
    others = [name for name in listing.names if not name.lower().endswith(TAR)]
    source.part, source.bad = pieces.part, (*listing.unread, *source.bad)
    source.left_out += (
        *pieces.left_out,
        *counted(listing.again, "second name", "second names"),
        *counted(others, "other file", "other files"),
    )
    return _require_images(root, source)


def _open_url(source: str, *, labels: bool) -> TarSource | StoredTables:
    """Open files of a store: one, all below a folder, or those that a pattern stands for."""
    system, path = open_system(source)  # raises for a store that no package opens
    is_file = source.lower().endswith((TAR, TABLE)) and "*" not in source  # not every store can list
    if is_file and source.lower().endswith(TABLE):
        with suppress(Exception):  # nor tell a folder, which Spark names so
            is_file = not system.isdir(path)
    if is_file:
        return _open_stored(source, *_located([source]), labels=labels)
    url, names = list_urls(source)
    return _open_stored(source, url, names, labels=labels)


def _open_stored(
    source: str, url: str, names: Sequence[str], *, labels: bool, is_one_set: bool = False
) -> TarSource | StoredTables:
    """Open the tables of images among files of a store, or its tars where there are none.

    is_one_set: whether all of them belong together, so that none is of another part.
    """
    store = Remote(url)
    tars, tables = ([name for name in names if name.lower().endswith(suffix)] for suffix in (TAR, TABLE))
    if not tars and not tables:
        raise ValueError(
            f"{source} holds no {TABLE} and no {TAR} file: of stores, these are read; copy anything else to a disk, or "
            "take hub:NAME"
        )
    read = read_indices(store, tables, source, labels=labels) if tables else {}
    indices = {name: index for name, index in read.items() if isinstance(index, TableIndex)}
    holding = {name: index for name, index in indices.items() if index.image}
    kind, among = ("table", [*holding]) if holding or not tars else ("tar", tars)
    pieces = Pieces(tuple(among), "", ()) if is_one_set else choose_pieces(url, among, names, kind)
    opened: TarSource | StoredTables
    if kind == "table":
        opened = StoredTables(store, {name: holding[name] for name in pieces.names}, source, labels=labels)
    else:
        opened = TarSource(store, pieces.names, source, labels=labels)
    opened.part = pieces.part
    opened.bad += tuple(BadFile(name, why) for name, why in read.items() if isinstance(why, str))
    opened.left_out += (
        *pieces.left_out,
        *counted([name for name in indices if name not in holding], *WITHOUT_IMAGES),
        *(counted(tars, "tar", "tars") if kind == "table" else ()),
    )
    return _require_images(source, opened)


def _located(urls: Sequence[str]) -> tuple[str, list[str]]:
    """Return the URL of the folder that files share, and their names below it."""
    folder = posixpath.commonprefix([url.rpartition("/")[0] + "/" for url in urls]).rpartition("/")[0]
    return folder, [url.removeprefix(folder + "/") for url in urls]


def _require_images(what: str, source: Packed) -> Packed:
    """Return a source that holds images.

    Raises:
        ValueError: with the reason why there are none.
    """
    if source.names:
        return source
    reasons = listed([*map(str, source.bad), *source.left_out], "; ")
    raise ValueError(f"{what} holds no images" + (f" ({reasons})" if reasons else ""))


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
