"""Atomic writes: a file or folder is complete or absent, also after a kill, a full disk or a power cut.

Everything is written under a hidden temporary name in the same folder, flushed to the disk and renamed. The name holds
the process that writes, so that no two share it, and is made anew each time, so that no link of that name is followed;
the next write into the folder deletes what dead processes left. A link under the final name is replaced, not followed.
"""

import os
import platform
import re
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import BinaryIO

from safetensors import SafetensorError

from .manifest import write_manifest
from .os_errors import explain_write_error


def _here() -> str:
    """Name this machine, or the container on it within which process numbers are unique."""
    with suppress(OSError):
        return platform.node() + os.readlink("/proc/self/ns/pid")
    return platform.node()


HOST = f"{zlib.crc32(_here().encode()):08x}"
PROCESS = token_hex(4)  # tells this process from an earlier one of the same number
TEMPORARY = re.compile(r"\.(.+)\.(written|replaced|removed)\.([0-9a-f]{8})-(\d+)-([0-9a-f]{8})-\d+\.partial")
ABANDONED = 24 * 3600.0  # seconds without a change after which a temporary name of another machine is a leftover

MANY = 1000  # files, above which all that waits for the disk is flushed at once

_numbers = count()


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
            f"cannot write into {folder}: {explain_write_error(error, 'fix this')}, or choose another --out"
        ) from error


def require_creatable(folder: Path) -> None:
    """Check that a folder can be written to, or made, without making it.

    Raises:
        ValueError: if it cannot.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a file" if folder.exists() else "a link that leads nowhere"
        raise ValueError(f"out: {folder} is {what}, expected a folder")
    above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ValueError(f"out: {folder} cannot be written, since {above} is not a folder that can be written to")


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
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(partial, flags, 0o666), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whatever the locale, replacing an existing one."""
    with open_atomically(path) as stream:
        stream.write(text.encode())


def write_folder_atomically(
    folder: Path, write: Callable[[Path], None], *, manifest: bool = True, keep_others: bool = False
) -> None:
    """Let `write` fill an empty folder, which then replaces `folder`; make its parents if need be.

    manifest: add one of its files, which `verify_folder` compares. keep_others: copy what else lies in
    `folder` into the new one; the manifest does not name it.

    Raises:
        ValueError: where `folder` is a link or a file.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"{folder} is {'a link' if folder.is_symlink() else 'a file'}, not a folder: remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(folder) as partial:
        partial.mkdir()
        write(partial)
        _share(partial)
        if manifest:
            write_manifest(partial)
        if keep_others and folder.exists():
            _copy_others(folder, partial)
        paths = [path for path in (*partial.rglob("*"), partial) if not path.is_symlink()]
        if len(paths) > MANY:
            os.sync()
        else:
            for path in paths:
                _flush(path)
        aside = _temporary(folder, "replaced")  # restored from there after a kill between the two renames
        if replaces := folder.exists():
            folder.rename(aside)
        partial.rename(folder)
        if replaces:
            remove(aside, folder)


def _share(folder: Path) -> None:
    """Give files the permissions of new ones: some libraries make theirs readable by their owner alone."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _copy_others(old: Path, new: Path) -> None:
    for path in old.iterdir():
        target = new / path.name
        if target.exists() or TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target, follow_symlinks=False)


def remove(folder: Path, name: Path | None = None) -> None:
    """Delete a folder; a kill midway leaves no half of it under its name.

    name: by which the temporary name is made, by default its own.
    """
    doomed = _temporary(name or folder, "removed")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Delete what dead processes left half written in a folder; bring back what they had moved aside."""
    for path in folder.glob(".*.partial"):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or not _is_leftover(path, match):
            continue
        original = path.with_name(match[1])
        if match[2] == "replaced" and not (original.exists() or original.is_symlink()):
            path.rename(original)
        else:
            _delete(path)


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
    """Return a new temporary name for a path, having deleted leftovers beside it."""
    remove_leftovers(path.parent)
    return path.with_name(f".{path.name}.{kind}.{HOST}-{os.getpid()}-{PROCESS}-{next(_numbers)}.partial")


def _is_leftover(path: Path, match: re.Match[str]) -> bool:
    """Whether the process that wrote under a temporary name is dead, or has not written for a day."""
    host, process, token = match[3], int(match[4]), match[5]
    if host == HOST and process == os.getpid():
        return token != PROCESS
    try:
        if host == HOST:
            os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it runs, as another user
        pass
    with suppress(OSError):  # deleted meanwhile
        return time.time() - path.lstat().st_mtime > ABANDONED
    return False


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
