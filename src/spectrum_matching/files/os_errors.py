"""Errors of the operating system as one line: what failed, why, and what to do about it."""

import errno
import os
import re

REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: the quota is used up",
    errno.EFBIG: "raise the limit of the shell (ulimit -f), or choose a file system for larger files",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EISDIR: "it is a folder: give the name of a file",
    errno.EEXIST: "a file or a link that leads nowhere has this name: remove it",
    errno.ENOTDIR: "part of the path is a file: check the path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network disk",
}
"""What to do about an error, whether it came up in reading or in writing."""


def system_error(error: BaseException) -> OSError | None:
    """Return the error of the operating system behind an exception, None if there is none.

    Libraries hide it: torch.save raises a RuntimeError while it is handled, safetensors names its number in a text.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen
        if number := re.search(r"\(os error (\d+)\)", str(seen)):
            return OSError(int(number[1]), os.strerror(int(number[1])))
        seen = seen.__cause__ or seen.__context__
    return None


def explain_read_error(error: BaseException) -> str:
    """Return why something could not be read, with the remedy: "Permission denied; check the permissions"."""
    return _explain(error, "check the path", "")


def explain_write_error(error: BaseException, otherwise: str = "") -> str:
    """Return why something could not be written, with the remedy: "No space left on device; make room on the disk".

    otherwise: the remedy of errors for which none is known.
    """
    return _explain(error, "its folder has been deleted or was never there: check the path", otherwise)


def _explain(error: BaseException, missing: str, otherwise: str) -> str:
    cause = system_error(error)
    if cause is None or cause.errno is None:
        reason, remedy = " ".join(str(error).split()) or type(error).__name__, otherwise
    else:
        reason = cause.strerror or os.strerror(cause.errno)
        remedy = {**REMEDIES, errno.ENOENT: missing}.get(cause.errno, otherwise)
    return f"{reason}; {remedy}" if remedy else reason


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory does not suffice: Python's, or torch's on a CPU or a GPU."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error))))


NO_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory|Storage size calculation overflowed")
"""What torch says, as a RuntimeError."""
