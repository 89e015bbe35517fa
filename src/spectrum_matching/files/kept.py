"""What takes long to find and follows from data alone: kept in the user's cache folder, and found once."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import gettempdir

from .documents import Document, Record
from .locks import exclusive


def kept_folder(kind: str) -> Path:
    """Return the folder in which records of a kind are kept; of a user without a home, one that does not last."""
    home = Path(os.path.expanduser("~"))
    cache = home / ".cache" if home.is_absolute() else Path(gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or cache) / "specmatch" / kind


def kept(document: Document[Record], kind: str, key: str, find: Callable[[], Record]) -> Record:
    """Return the record kept under `key`, or else what `find` returns, which is then kept where that can be written.

    Of several processes that ask for one key, one finds the record and the others wait for it.
    """
    path = kept_folder(kind) / f"{key}.json"
    with ExitStack() as stack:
        with suppress(ValueError, OSError):  # where nothing can be written, nothing is kept
            stack.enter_context(exclusive(path, waiting=True))
        if path.exists():
            with suppress(ValueError):
                return document.read(path)
        record = find()
        with suppress(OSError, ValueError):
            document.write(path, record)
        return record
