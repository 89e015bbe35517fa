"""Fingerprints of data: what a set of images or latents holds, told without reading all of it.

Of each item its name, its byte count and a hash of sampled bytes are taken: all of a file of up to 12 KiB, else three
blocks of 4 KiB at its head, middle and tail. The tail of a PNG holds a checksum of all its pixels; of an uncompressed
file, a change between the blocks is missed. Modification times are kept apart: where they alone differ, it is the same
data, written again or copied.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..files.digests import LENGTH
from ..files.regular import open_regular
from ..files.threads import in_threads

BLOCK = 4096  # bytes
N_GROUPS = 256
GROUP_LENGTH = 8  # hexadecimal digits of a group

log = logging.getLogger(__name__)


class Content(NamedTuple):
    """What is taken of an item: its byte count (-1: unreadable), a hash of sampled bytes, and its time (0: none).

    time: of the last modification, in nanoseconds.
    """

    n_bytes: int
    digest: bytes = b""
    time: int = 0


@dataclass(frozen=True)
class Fingerprint:
    """What identifies `n` items in their order.

    digest: of names, byte counts and sampled bytes. groups: the same of at most 256 groups of consecutive items, 8
    hexadecimal digits each, which tell where two sets differ first. times: of modification times, "" without any.
    """

    n: int
    digest: str
    groups: str = ""
    times: str = ""

    def __str__(self) -> str:
        """Return "1,000 of digest 0123456789abcdef"."""
        return f"{self.n:,} of digest {self.digest}"


class Contents:
    """A set of named items.

    groups: the number of each item's group, ascending, where items can only be read in groups, as rows of a table in a
    store; None: each is read by itself.
    """

    names: Sequence[str]
    groups: Sequence[int] | None = None

    def content(self, index: int) -> Content:
        """Return what a fingerprint takes of an item; never raise for one that cannot be read."""
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all items, taken when it is first asked for."""
        return fingerprint(self)

    @property
    def digest(self) -> str:
        """Digest of that fingerprint."""
        return self.fingerprint.digest


class FileContents(Contents):
    """Files below a folder, by their names relative to it."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def content(self, index: int) -> Content:
        """Return what is taken of a file."""
        return file_content(self.root / self.names[index])


class KnownContents(Contents):
    """Items of which byte counts and hashes are known, by name."""

    def __init__(self, contents: Mapping[str, Content]) -> None:
        self.names, self._contents = tuple(contents), tuple(contents.values())

    def content(self, index: int) -> Content:
        """Return what is known of an item."""
        return self._contents[index]


def fingerprint(items: Contents, indices: Sequence[int] | None = None) -> Fingerprint:
    """Take the fingerprint of the items of these indices, all by default."""
    indices = range(len(items.names)) if indices is None else indices
    contents = in_threads(lambda number: items.content(indices[number]), len(indices))
    lines = [
        f"{items.names[index]}\0{content.n_bytes}\0{content.digest.hex()}\n".encode("utf-8", "surrogateescape")
        for index, content in zip(indices, contents, strict=True)
    ]
    size = _group_size(len(lines))
    groups = (b"".join(lines[start : start + size]) for start in range(0, len(lines), size))
    times = [content.time for content in contents]
    return Fingerprint(
        n=len(lines),
        digest=hashlib.sha256(b"".join(lines)).hexdigest()[:LENGTH],
        groups="".join(hashlib.sha256(group).hexdigest()[:GROUP_LENGTH] for group in groups),
        times=hashlib.sha256(repr(times).encode()).hexdigest()[:LENGTH] if any(times) else "",
    )


def changes(before: Fingerprint | None, now: Fingerprint | None, names: Sequence[str]) -> str:
    """Return in words what differs between the items before and those of now, which have these names; "" if nothing.

    Their times are not compared. None: nothing is known of them.
    """
    if before is None or now is None:
        return "" if before is now else f"{'then' if before is None else 'now'} nothing is known of them"
    if before.digest == now.digest:
        return ""
    counts = f"{before.n:,} there, {now.n:,} now" if before.n != now.n else f"{now.n:,}, as before"
    size = _group_size(now.n)
    if size != _group_size(before.n):
        return counts
    starts = range(0, max(len(before.groups), len(now.groups)), GROUP_LENGTH)
    equal = [
        before.groups[start : start + GROUP_LENGTH] == now.groups[start : start + GROUP_LENGTH] for start in starts
    ]
    first = size * equal.index(False) if False in equal else now.n
    if first >= now.n:
        return counts
    last = min(first + size, now.n) - 1
    place = f"at {names[first]}" if first == last else f"between {names[first]} and {names[last]}"
    return f"{counts}, the first difference {place}"


def warn_if_rewritten(what: str, before: Fingerprint | None, now: Fingerprint | None) -> None:
    """Log a warning where the items are the same by their sampled bytes, and their times differ."""
    if before and now and before.digest == now.digest and before.times != now.times:
        log.warning(
            "%s were written again or copied: their times differ; names, byte counts and sampled bytes are the same",
            what,
        )


def file_content(path: Path) -> Content:
    """Return what is taken of a file."""
    try:
        with open_regular(path) as stream:
            facts = os.fstat(stream.fileno())
            digest = _sampled(facts.st_size, lambda n, start: os.pread(stream.fileno(), n, start))
            return Content(facts.st_size, digest, facts.st_mtime_ns)
    except (OSError, ValueError):  # the latter for a name with a null byte
        return Content(-1)


def range_content(path: Path, start: int, n: int) -> Content:
    """Return what is taken of `n` bytes of a file from `start` on."""
    try:
        with open_regular(path) as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size < start + n:
                return Content(-1)
            return Content(n, _sampled(n, lambda k, at: os.pread(stream.fileno(), k, start + at)), facts.st_mtime_ns)
    except (OSError, ValueError):
        return Content(-1)


def buffer_content(data: memoryview) -> Content:
    """Return what is taken of bytes in memory, or in a memory-mapped file."""
    return Content(len(data), _sampled(len(data), lambda n, start: data[start : start + n]))


def _sampled(n: int, read: Callable[[int, int], bytes | memoryview]) -> bytes:
    """Return the hash of all of `n` bytes, or of three blocks; read: takes how many, and from where."""
    if n <= 3 * BLOCK:
        return hashlib.sha256(read(n, 0)).digest()[: LENGTH // 2]
    digest = hashlib.sha256()
    for start in (0, (n - BLOCK) // 2, n - BLOCK):
        digest.update(read(BLOCK, start))
    return digest.digest()[: LENGTH // 2]


def _group_size(n: int) -> int:
    """Return how many of `n` items a group holds: a power of two, the same for sets of nearly one size."""
    size = 1
    while size * N_GROUPS < n:
        size *= 2
    return size
