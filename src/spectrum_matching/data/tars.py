"""Tar files of images, as webdataset has them, local or in a store: each image read by its place in its tar.

A tar has no table of contents, so its headers are read once, and what they say is kept in the user's cache folder.
"""

import logging
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from ..files.digests import digest_lines
from ..files.documents import Document
from ..files.kept import kept
from ..files.names import printable
from .decode import SUFFIXES, Frame, decode_image, image_frame, one_line
from .fingerprint import Content
from .labels import number_labels
from .stores import Store
from .summary import number
from .walk import BadFile

TAR = ".tar"
CLASS = ".cls"  # member with the class of the image of its name
N_READ_AT_ONCE = 8
LONGEST_CLASS = 4096  # bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TarIndex:
    """Images of a tar: names, places and lengths in bytes, and classes as they are written (None without one).

    others: how many other members there are, and the first one's name.
    """

    names: tuple[str, ...]
    starts: tuple[int, ...]
    n_bytes: tuple[int, ...]
    classes: tuple[str | None, ...]
    others: tuple[int, str]


INDEX = Document(TarIndex, "specmatch-tar-2", "index", "delete it", sealed=True)


class TarSource:
    """Images of tars, in the order of the tars and of their members; for its members see `sources.Source`.

    names: of the tars in the store. what: names all of them in errors. Labels, if asked for, are those of members .cls.

    Raises:
        ValueError: when labels are asked for and are too many to be classes, and where a store does not answer.
    """

    groups: Sequence[int] | None = None

    def __init__(self, store: Store, tars: Sequence[str], what: str, *, labels: bool) -> None:
        self._store, self._tars = store, tars
        announce = cache(lambda: log.info("reading the headers of %s, once", what))
        with ThreadPoolExecutor(N_READ_AT_ONCE) as pool:
            found = list(pool.map(lambda name: _index_or_reason(store, name, announce), tars))
        indices = {tar: index for tar, index in enumerate(found) if isinstance(index, TarIndex)}
        counts = np.array([len(index.names) for index in indices.values()], dtype=np.int64)
        self._tar = np.repeat(np.array(list(indices), dtype=np.int64), counts)
        self._starts, self._n_bytes = (
            np.array([value for index in indices.values() for value in getattr(index, part)], dtype=np.int64)
            for part in ("starts", "n_bytes")
        )
        self.root = store.path("")
        self.names: Sequence[str] = [f"{tars[tar]}/{name}" for tar, index in indices.items() for name in index.names]
        self.labels: Sequence[int] = [-1] * len(self.names)
        self.classes: tuple[str, ...] = ()
        if labels:
            values = _numbers_or_texts([text for index in indices.values() for text in index.classes])
            self.classes, self.labels = number_labels(values, f"{what}: members {CLASS}")
        self.part = ""
        self.bad = tuple(BadFile(name, why) for name, why in zip(tars, found, strict=True) if isinstance(why, str))
        n_others = sum(index.others[0] for index in indices.values())
        first = next((index.others[1] for index in indices.values() if index.others[0]), "")
        self.left_out: tuple[str, ...] = ()
        if n_others:
            ellipsis = ", …" if n_others > 1 else ""
            self.left_out = (f"{number(n_others, 'other member', 'other members')} ({first}{ellipsis})",)

    def frame(self, item: int) -> Frame:
        """Return size and orientation from the header."""
        return image_frame(self._payload(item))

    def read(self, item: int) -> Image.Image:
        """Return the image as 8-bit RGB."""
        return decode_image(self._payload(item))

    def content(self, item: int) -> Content:
        """Return what a fingerprint takes of the member."""
        return self._store.content(*self._place(item))

    def _payload(self, item: int) -> bytes:
        return self._store.read(*self._place(item))

    def _place(self, item: int) -> tuple[str, int, int]:
        return self._tars[int(self._tar[item])], int(self._starts[item]), int(self._n_bytes[item])


def read_index(stream: IO[bytes]) -> TarIndex:
    """Read the headers of an uncompressed tar.

    An image is a member whose last suffix is that of an image. Where the name goes on after its first full stop, as
    that of 0001.depth.png does, it is one only if nothing of the name before is: 0001.jpg. Hidden members are left out.

    Raises:
        tarfile.TarError: for what is no such tar, or ends early.
    """
    images: dict[str, tuple[int, int]] = {}
    classes: dict[str, str] = {}
    others: list[str] = []
    plain: set[str] = set()  # names up to the first full stop, of images that have no further one
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if not member.isreg() or any(part.startswith(".") for part in path.parts):
                continue
            if path.suffix.lower() in SUFFIXES:
                images[str(path)] = member.offset_data, member.size
                plain |= {_key(path)} if path.name.count(".") == 1 else set()
            elif path.suffix == CLASS and member.size <= LONGEST_CLASS:
                content = tar.extractfile(member)
                text = content.read().decode(errors="replace").strip() if content else ""
                if text:
                    classes[_key(path)] = text
            else:
                others.append(str(path))
        stream.seek(tar.offset)  # where a damaged header ends the reading, without a word, as zeros do
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"the header at byte {tar.offset} is damaged")
    extra = {name for name in images if name.rpartition("/")[2].count(".") > 1 and _key(PurePosixPath(name)) in plain}
    others += sorted(extra)
    taken = {name: place for name, place in images.items() if name not in extra}
    return TarIndex(
        names=tuple(map(printable, taken)),
        starts=tuple(start for start, _ in taken.values()),
        n_bytes=tuple(n for _, n in taken.values()),
        classes=tuple(classes.get(_key(PurePosixPath(name))) for name in taken),
        others=(len(others), printable(others[0]) if others else ""),
    )


def _index_or_reason(store: Store, name: str, announce: Callable[[], None]) -> TarIndex | str:
    """Return the index of a tar, kept or read now, which is announced, or why there is none."""

    def read() -> TarIndex:
        announce()
        with store.open(name) as stream:
            return read_index(stream)

    try:
        return kept(INDEX, "tars", digest_lines([store.path(name), store.version(name)]), read)
    except tarfile.TarError as error:
        return f"cannot be read as an uncompressed tar ({one_line(error)})"
    except FileNotFoundError:
        return "it is not there"
    except Exception as error:  # each store has errors of its own
        return f"cannot be read ({store.fault(name, error)})"


def _numbers_or_texts(texts: Sequence[str | None]) -> Sequence[int | str | None]:
    """Return classes as numbers where all of them are, so that 9 comes before 10."""
    if all(text.isascii() and text.isdecimal() for text in texts if text is not None):
        return [None if text is None else int(text) for text in texts]
    return texts


def _key(path: PurePosixPath) -> str:
    """Return the name that the members of one sample share: up to the first full stop."""
    return str(path.parent / path.name.partition(".")[0])
