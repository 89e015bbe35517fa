"""Atomic writes: a file or folder is complete or absent, also after a kill, a full disk or a power cut.

Everything is written under a hidden temporary name in the same folder, flushed to the disk and renamed. The name holds
the process that writes, so that no two share it; the next write into the folder deletes what dead processes left.
"""

import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from safetensors import SafetensorError

from .manifest import write_manifest
from .os_errors import explain_write_error

HOST = f"{zlib.crc32(platform.node().encode()):08x}"
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)\.partial")
ABANDONED = 24 * 3600.0  # seconds without a change after which a temporary name of another machine is a leftover


def require_writable(folder: Path) -> None:
    """Create a folder and check that it can be written to.

    Raises:
        ValueError: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write into {folder}: {explain_write_error(error)}, or choose another --out"
        ) from error


def require_creatable(folder: Path) -> None:
    """Check that a folder can be written to, or made, without making it.

    Raises:
        ValueError: if it cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file, expected a folder")
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"out: {folder} cannot be written, since {above} is no folder that can be written to")


@contextmanager
def explain_write_errors(what: str, remedy: str = "rerun the same command to resume") -> Iterator[None]:
    """Turn what fails while `what` is written into a ValueError of one line.

    Raises:
        ValueError: for OSError, safetensors' error, and torch's RuntimeError for a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        why = explain_write_error(error, "fix this")
        raise ValueError(f"cannot write {what}: {why}, then {remedy}") from error


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a binary stream whose content replaces the file `path` when the block ends without an error."""
    with _replacing(path) as partial:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whatever the locale, replacing an existing one."""
    with open_atomically(path) as stream:
        stream.write(text.encode())


def write_folder_atomically(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty folder, which then replaces `folder`; make its parents if need be.

    The folder gets a manifest of its files, which `verify_folder` compares.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(folder) as partial:
        partial.mkdir()
        write(partial)
        write_manifest(partial)
        for path in (*partial.rglob("*"), partial):
            _flush(path)
        if folder.exists():
            remove(folder)
        partial.rename(folder)


def remove(folder: Path) -> None:
    """Delete a folder; a kill midway leaves no half of it under its name."""
    doomed = _temporary(folder, "removed")
    folder.rename(doomed)
    shutil.rmtree(doomed)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield the temporary name of a path; delete it after an error, else flush the renaming to the disk."""
    partial = _temporary(path)
    try:
        yield partial
        _flush(path.parent)
    except BaseException as error:
        _delete(partial)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(partial)):
            error.filename = str(path)  # a stream does not know its name, and the user not the temporary one
        raise


def _temporary(path: Path, kind: str = "written") -> Path:
    """Return this process's temporary name for a path, having deleted leftovers beside it."""
    for leftover in path.parent.glob(".*.partial"):
        if _is_leftover(leftover):
            _delete(leftover)
    partial = path.with_name(f".{path.name}.{kind}.{HOST}-{os.getpid()}.partial")
    _delete(partial)  # of an earlier process of the same number
    return partial


def _is_leftover(path: Path) -> bool:
    """Whether the process that wrote under a temporary name is dead, or has not written for a day."""
    name = TEMPORARY.fullmatch(path.name)
    if name is None:
        return False
    try:
        if name[1] == HOST:
            os.kill(int(name[2]), 0)  # sends nothing
    except ProcessLookupError:
        return True
    except OSError:  # it runs, as another user
        pass
    with suppress(OSError):  # deleted meanwhile
        return time.time() - path.stat().st_mtime > ABANDONED
    return False


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
