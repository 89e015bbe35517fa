"""Locks: of the commands that want to write one output, one does, and the others wait or are refused.

A lock is held by the operating system on a hidden file beside the output. It ends with its process, however that ends.
"""

import errno
import json
import logging
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
UNTIL_NAMED = 0.5  # seconds that the holder is given to write its name

log = logging.getLogger(__name__)
_held: set[int] = set()  # descriptors; a forked child, such as a reader of images, must not keep a lock alive
_closes_in_children: list[bool] = []


@contextmanager
def exclusive(path: Path, *, waiting: bool = False) -> Iterator[None]:
    """Keep other processes from writing the output `path`, a file or a folder, until the block ends.

    waiting: wait for the other process. On a file system without locks a warning is all that happens.

    Raises:
        ValueError: in one line naming the other process, where one writes the output and `waiting` is false; and where
            the lock cannot be made.
    """
    lock = lock_of(path)
    while True:
        descriptor = _open(lock, path)
        try:
            if _flock(descriptor, path, waiting) and not _is_at(descriptor, lock):
                continue  # the holder before removed it
            _record_holder(descriptor)
            try:
                yield
            finally:
                if _is_at(descriptor, lock):
                    lock.unlink(missing_ok=True)
            return
        finally:
            _held.discard(descriptor)
            os.close(descriptor)


def lock_of(path: Path) -> Path:
    """Return the lock's file: hidden, beside the output, or within a folder whose parent cannot be written to."""
    real = Path(os.path.realpath(path))
    if real.is_dir() and not os.access(real.parent, os.W_OK):
        return real / ".lock"
    return real.with_name(f".{real.name}.lock")


def _open(lock: Path, path: Path) -> int:
    """Open the lock's file, never through a link, and return its descriptor."""
    if not _closes_in_children:
        _closes_in_children.append(True)
        os.register_at_fork(after_in_child=_let_go)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(lock, flags, 0o666)
    except OSError as error:
        why = f"no file can be made in {lock.parent} ({error.strerror})"
        if lock.is_symlink() or lock.is_dir():
            why = f"{lock} is a link or a folder, which is to be removed"
        raise ValueError(f"cannot write {path}: {why}; choose another --out") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"cannot write {path}: {lock} is not a regular file, and is to be removed")
    _held.add(descriptor)
    return descriptor


def _flock(descriptor: int, path: Path, waiting: bool) -> bool:
    """Lock the open file; return False, after a warning, where the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waiting else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        raise ValueError(f"{path} is being written by {holder}; wait for it or choose another --out") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise ValueError(f"cannot lock {path}: {error.strerror}; choose another --out") from error
        log.warning("this file system has no locks: let no two commands write %s at once", path)
        return False
    return True


def _is_at(descriptor: int, lock: Path) -> bool:
    """Return whether the open file is the one of this name still."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.lstat())
    except FileNotFoundError:
        return False


def _record_holder(descriptor: int) -> None:
    started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:1000]
    holder = {"process": os.getpid(), "host": platform.node(), "started": started, "command": command}
    with suppress(OSError):  # a full disk takes no name, but the lock holds
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    """Return in words who holds a lock."""
    end = time.monotonic() + UNTIL_NAMED
    while time.monotonic() < end:
        try:
            holder = json.loads(os.pread(descriptor, 1 << 16, 0))
            where = "" if holder["host"] == platform.node() else f" on {holder['host']}"
            return f"process {int(holder['process'])}{where}, started {holder['started'][:19]}"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.01)
    return "another process"


def _let_go() -> None:
    """Close what a fork has copied, in the child: the parent's lock stays."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
