"""What lies below a folder: each real folder and each real file once, in an order that depends on names alone."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from ..files.names import printable
from ..files.regular import not_regular


class BadFile(NamedTuple):
    """A file that could not be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return "NAME: REASON" as one printable line."""
        return printable(f"{self.name}: {self.reason}")


class Listing(NamedTuple):
    """Regular files below `root`, by posix path relative to it, sorted; hidden ones are left out.

    again: further names (links) of files and folders that are listed already. unread: what cannot be listed or examined
    (permission, a dangling link), or is not a regular file (a pipe, a socket, a device), and why.
    """

    root: Path
    names: tuple[str, ...]
    n_bytes: tuple[int, ...]
    again: tuple[str, ...]
    unread: tuple[BadFile, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of the files, in the order of their names."""
        return tuple(self.root / name for name in self.names)


def walk(root: str | Path) -> Listing:
    """List what lies below a folder, through links as well, opening no file.

    A real file or folder (device and inode) is listed once: by its real path rather than through a link, through fewer
    links rather than more, and otherwise by the first name in sorted order.

    Raises:
        ValueError: when the folder itself cannot be listed.
    """
    return _Walk(Path(root)).listing()


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: set[tuple[int, int] | str] = set()
        self._files: list[tuple[str, int]] = []
        self._again: list[str] = []
        self._unread: list[BadFile] = []
        self._links: list[str] = []

    def listing(self) -> Listing:
        try:
            self._is_new("", os.stat(self._root))
            os.scandir(self._root).close()
        except OSError as error:
            raise ValueError(f"{self._root} cannot be listed: {error.strerror}") from error
        self._list_tree("")
        while self._links:
            # Those of one round hang from equally many links; the ones found meanwhile wait for the next round.
            links, self._links = sorted(self._links), []
            for name in links:
                self._add(name)
        names, n_bytes = zip(*sorted(self._files), strict=True) if self._files else ((), ())
        return Listing(self._root, names, n_bytes, tuple(sorted(self._again)), tuple(sorted(self._unread)))

    def _list_tree(self, top: str) -> None:
        """List a folder and all real folders below it; links wait. A stack, since trees may be deep."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self._root / folder) as entries:
                    found = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
            except OSError as error:
                self._unread.append(BadFile(folder, f"folder cannot be listed ({error.strerror})"))
                continue
            folders = []
            for entry in found:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink():
                    self._links.append(name)
                elif self._is_folder(name, entry):
                    folders.append(name)
            waiting += reversed(folders)

    def _add(self, link: str) -> None:
        """List what a link leads to."""
        if self._is_folder(link, None):
            self._list_tree(link)

    def _is_folder(self, name: str, entry: "os.DirEntry[str] | None") -> bool:
        """Record what is not a folder; return whether it is one that was not entered yet."""
        try:
            found = entry.stat(follow_symlinks=False) if entry else os.stat(self._root / name)
        except OSError as error:
            self._unread.append(BadFile(name, error.strerror or type(error).__name__))
            return False
        kind = stat.S_IFMT(found.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            self._unread.append(BadFile(name, not_regular(kind)))
            return False
        if not self._is_new(name, found):
            self._again.append(name)
            return False
        if kind == stat.S_IFREG:
            self._files.append((name, found.st_size))
        return kind == stat.S_IFDIR

    def _is_new(self, name: str, found: os.stat_result) -> bool:
        # Some file systems number no inodes.
        identity = (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(self._root / name)
        is_new = identity not in self._seen
        self._seen.add(identity)
        return is_new
