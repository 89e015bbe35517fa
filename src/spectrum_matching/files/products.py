"""Find what we wrote below a folder, and read all of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .manifest import Compared


class Kind(NamedTuple):
    """A kind of product: its name, how a file or folder of it is recognised, and what reads it.

    compare: returns how much was compared; raises ValueError naming what is damaged.
    """

    name: str
    recognises: Callable[[Path], bool]
    compare: Callable[[Path], Compared]


class Product(NamedTuple):
    """A product that was found, and how much of it was compared; problem: what is damaged, "" if nothing is."""

    kind: str
    path: Path
    compared: Compared
    problem: str


def find_products(root: Path, kinds: Sequence[Kind]) -> Iterator[Product]:
    """Read a file or folder and everything below it; hidden names and links to folders are passed over.

    Raises:
        ValueError: if there is nothing at `root`.
    """
    if not root.exists():
        raise ValueError(f"no such file or folder: {root}; check the path")
    for path in _below(root):
        for kind in kinds:
            if kind.recognises(path):
                try:
                    yield Product(kind.name, path, kind.compare(path), "")
                except ValueError as error:
                    yield Product(kind.name, path, Compared(0, 0), str(error))


def _below(root: Path) -> Iterator[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in [*folders, *sorted(files)] if not name.startswith("."))
