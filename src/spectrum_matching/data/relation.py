"""Whether two sources hold the same images, however each is written."""

import os
import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from .images import ImageChoice, ImageSet, split_items
from .sources import open_source
from .stores import STREAM, is_url
from .tables import HUB, name_and_split

Relation = Literal["same", "related", "apart"]
"""Of two sources: the same images under the same names, perhaps some of the same images, or none."""


def relation(one: str, other: str) -> Relation:
    """Return what two sources have to do with each other, by what each opens rather than by how it is written.

    Folders and files are told by their real paths, so that a folder is the same as its training part, or as the only
    table in it. They are listed where one contains the other; of links to single images nothing is known. Data sets of
    the hub are told by name and split, stores by their URLs: nothing is asked of them.
    """
    if _written(one) == _written(other):
        return "same"
    if "embedded" in (one, other):
        return "apart"
    if _is_hub(one) and _is_hub(other):
        (name, split), (other_name, other_split) = name_and_split(one), name_and_split(other)
        return "related" if name == other_name and _parts(split) & _parts(other_split) else "apart"
    if is_url(one) and is_url(other):
        urls = _written(one), _written(other)
        return "related" if _holds_url(*urls) or _holds_url(*urls[::-1]) else "apart"
    paths = Path(one).expanduser(), Path(other).expanduser()
    if not all(path.exists() for path in paths):
        return "apart"
    if paths[0].samefile(paths[1]):
        return "same"
    if not _holds(*paths) and not _holds(*paths[::-1]):
        return "apart"
    try:
        files = open_source(one, labels=False), open_source(other, labels=False)
    except ValueError:  # one of them no longer opens
        return "related"
    are_named_alike = list(files[0].names) == list(files[1].names)
    return "same" if are_named_alike and os.path.samefile(files[0].root, files[1].root) else "related"


def n_shared(images: ImageSet, choice: ImageChoice) -> int | None:
    """Return how many of these images are among those of a choice; None where it cannot be told, or only by a download.

    choice: of a source that is related to that of the images.
    """
    if _is_hub(choice.source) or is_url(choice.source):
        return None
    try:
        files = open_source(choice.source, labels=False)
        names = [files.names[item] for item in split_items(choice, files)]
    except ValueError:
        return None
    known = set(_places(files.root, names))
    return sum(place in known for place in _places(images.root, images.names))


def _written(source: str) -> str:
    """Return a source with what its name may leave out."""
    if _is_hub(source):
        return f"{source.partition(':')[0]}:{':'.join(name_and_split(source))}"
    return source.rstrip("/") if is_url(source) else source


def _is_hub(source: str) -> bool:
    return source.startswith((HUB, STREAM))


def _parts(split: str) -> set[str]:
    """Return the splits that one is made of: of "train[:10%]+test" these are train and test."""
    return {part.partition("[")[0] for part in split.split("+")}


def _holds_url(one: str, other: str) -> bool:
    return other.startswith(f"{one}/") or fnmatchcase(other, one)


def _holds(folder: Path, path: Path) -> bool:
    """Return whether a path lies in a folder, as it is written or in truth."""
    written = (Path(given(path)) for given in (os.path.abspath, os.path.realpath))
    return any(parent.samefile(folder) for given in written for parent in given.parents)


def _places(root: str, names: Sequence[str]) -> list[str]:
    """Return where images lie: real paths, followed by their places in tables and tars."""
    real = cache(lambda folder: os.path.realpath(os.path.join(root, folder)))
    return [posixpath.join(real(posixpath.dirname(name)), posixpath.basename(name)) for name in names]
