"""Where files of many images lie, a folder or whatever fsspec opens, and how parts of them are read."""

import hashlib
import os
import posixpath
import time
from pathlib import Path
from typing import IO, Any, Protocol

from ..files.digests import LENGTH
from ..files.os_errors import explain_read_error
from ..files.regular import open_regular
from .decode import BadImageError, one_line
from .fingerprint import Content, range_content

WAITS = (1.0, 4.0)  # seconds before a request to a store is made again


class StoreError(ValueError):
    """A store that did not answer, which says nothing about what lies there."""


class Store(Protocol):
    """Files by their names below one place; a method raises StoreError where a store does not answer."""

    def path(self, name: str) -> str:
        """Return the whole path of a file."""

    def version(self, name: str) -> str:
        """Return what changes where the file does."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file to be read from its beginning on."""

    def read(self, name: str, start: int, n: int) -> bytes:
        """Return `n` bytes from `start` on; BadImageError where there are fewer, or none can be had."""

    def content(self, name: str, start: int, n: int) -> Content:
        """Return what a fingerprint takes of these bytes."""

    def fault(self, name: str, error: Exception) -> str:
        """Return what is wrong with a file, by an error that opening or reading it raised."""


class Folder:
    """Regular files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> str:
        """Return the real path, so that all names of a file are one."""
        return os.path.realpath(self._root / name)

    def version(self, name: str) -> str:
        """Return size and time of the last modification."""
        facts = os.stat(self._root / name)
        return f"{facts.st_size} {facts.st_mtime_ns}"

    def open(self, name: str) -> IO[bytes]:
        """Open the file."""
        return open_regular(self._root / name)

    def read(self, name: str, start: int, n: int) -> bytes:
        """Read from the file."""
        try:
            with open_regular(self._root / name) as stream:
                return _whole(os.pread(stream.fileno(), n, start), n)
        except OSError as error:
            raise BadImageError(self.fault(name, error)) from error

    def content(self, name: str, start: int, n: int) -> Content:
        """Return number and sampled bytes, and the file's time."""
        return range_content(self._root / name, start, n)

    def fault(self, name: str, error: Exception) -> str:
        """Return the reason that the operating system gives."""
        return getattr(error, "strerror", None) or one_line(error)


class Remote:
    """Objects below a URL that fsspec opens: s3://, gs://, hf://, https://, memory://."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, str] = {}

    def path(self, name: str) -> str:
        """Return the URL."""
        return posixpath.join(self._url, name)

    def size(self, name: str) -> int:
        """Return the length of the object in bytes."""
        return int(self._facts(name)["size"])

    def version(self, name: str) -> str:
        """Return the store's own checksum of the object where it has one, otherwise all that it says of it."""
        if name not in self._versions:
            facts = self._facts(name)
            known = (facts[key] for key in ("ETag", "etag", "md5Hash", "blob_id") if facts.get(key))
            self._versions[name] = f"{facts['size']} {next(known, None) or sorted(facts.items(), key=str)}"
        return self._versions[name]

    def _facts(self, name: str) -> dict[str, Any]:
        """Return what the store says of the object, which is asked for once."""
        if name not in self._known:
            system, path = open_system(self.path(name))
            self._known[name] = system.info(path)
        return self._known[name]

    def open(self, name: str) -> IO[bytes]:
        """Open the object."""
        system, path = open_system(self.path(name))
        stream: IO[bytes] = system.open(path, "rb")
        return stream

    def read(self, name: str, start: int, n: int) -> bytes:
        """Ask for the range, several times where the store does not answer."""
        system, path = open_system(self.path(name))
        waits = list(WAITS)
        while True:
            try:
                return _whole(system.cat_file(path, start=start, end=start + n), n)
            except BadImageError:
                raise
            except Exception as error:  # each store has errors of its own
                if isinstance(error, ABSENT) or not waits:
                    raise BadImageError(self.fault(name, error)) from error
                time.sleep(waits.pop(0))

    def content(self, name: str, start: int, n: int) -> Content:
        """Return number and place of the bytes, and the object's version: to read bytes of each would take hours."""
        try:
            place = f"{self.version(name)}\0{start}".encode()
        except Exception as error:  # each store has errors of its own
            self.fault(name, error)
            return Content(-1)
        return Content(n, hashlib.sha256(place).digest()[: LENGTH // 2])

    def fault(self, name: str, error: Exception) -> str:
        """Return why there is no such object; raise StoreError for any other error, which is the store's own."""
        if isinstance(error, ABSENT):
            return getattr(error, "strerror", None) or one_line(error)
        why = explain_read_error(error) if isinstance(error, OSError) else one_line(error)
        raise StoreError(
            f"{self.path(name)} cannot be read from its store ({why}): check the connection and what it lets you read, "
            "then run the same command again"
        ) from error


STREAM = "stream:"
"""Before the name of a data set of the hub that is read in place."""

ABSENT = (FileNotFoundError, IsADirectoryError)
"""What a store raises where it has answered that there is no such object."""


def is_url(source: str) -> bool:
    """Return whether the images of a source are read from a store, and not from a disk."""
    return "://" in source or source.startswith(STREAM)


def open_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, one for each process, and the path in it.

    Raises:
        ValueError: where the package that reads such URLs is not installed, or there is none.
    """
    import fsspec  # type: ignore[import-untyped]

    try:
        system, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:  # fsspec names the package
        raise ValueError(f"{url} cannot be opened: {one_line(error)}") from error
    return system, path


def list_urls(source: str) -> tuple[str, list[str]]:
    """Return the URL of a folder, and the names of files below it: all, or those that a pattern with * stands for.

    Raises:
        ValueError: where the store cannot be reached, or has nothing of this name.
    """
    system, path = open_system(source)
    try:
        paths = system.glob(path) if "*" in path else system.find(path)
    except Exception as error:
        why = explain_read_error(error) if isinstance(error, OSError) else one_line(error)
        raise ValueError(f"{source} cannot be listed: {why}") from error
    if not paths:
        raise ValueError(f"{source}: nothing of this name is there")
    top = path.partition("*")[0] if "*" in path else path
    above = posixpath.dirname(top) if "*" in path or paths == [path] else top.rstrip("/")
    names = sorted(found.removeprefix(above).lstrip("/") for found in paths)
    return system.unstrip_protocol(above), names


def _whole(data: bytes, n: int) -> bytes:
    if len(data) < n:
        raise BadImageError(f"it ends {n - len(data)} bytes early")
    return data
