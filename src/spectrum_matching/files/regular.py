"""Regular files: nothing else is opened for reading, since to open a named pipe is to wait for ever."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: where the path does not lead to one; `strerror` says what it is instead.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def require_regular(path: Path) -> None:
    """Check that a path leads to a regular file, for a library that opens files by their names.

    Raises:
        OSError: where it does not; `strerror` says what it is instead.
    """
    _require(os.stat(path), path)


def _require(found: os.stat_result, path: Path) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(number, not_regular(kind), str(path))


def not_regular(kind: int) -> str:
    """Return what is wrong with a file of another kind, by the file type bits of its mode."""
    return f"not a regular file, but {KINDS.get(kind, 'something else')}"
