"""Files that hold many images each, tables and tars: which are the pieces of one set, and of its training part."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .parts import SHARD, is_train, train_parts
from .summary import counted, listed


class Pieces(NamedTuple):
    """Names of the files to open, the training part that they are of ("" without parts), and what is left out."""

    names: tuple[str, ...]
    part: str
    left_out: tuple[str, ...]


def choose_pieces(root: str, names: Sequence[str], everything: Iterable[str], kind: str) -> Pieces:
    """Choose from files of a kind, such as "table", those of the training parts where these lie beside others.

    names: posix paths below `root`. everything: those of all files there, whose folders may be parts.

    Raises:
        ValueError: naming the choices, when they are not the pieces of one set: names that differ by more than numbers.
    """
    places = dict.fromkeys(map(posixpath.dirname, everything), False) | {_stem(name): True for name in names}
    parts = train_parts(places)
    part_of = {name: parts.get(_stem(name), "") for name in names}
    taken = [name for name in names if not parts or is_train(part_of[name])]
    series: dict[str, list[str]] = {}
    for name in taken:
        series.setdefault(re.sub(r"\d+", "#", SHARD.sub("", _stem(name))), []).append(name)
    if len(series) > 1:
        raise ValueError(f"{root} holds several {kind}s: {_choices(root, list(series.values()))}; give one of them")
    trains = dict.fromkeys(SHARD.sub("", part) for part in part_of.values() if is_train(part))
    others = [name for name, part in part_of.items() if part and not is_train(part)]
    astray = [name for name, part in part_of.items() if parts and not part]
    left_out = (
        *counted(others, f"{kind} of another part", f"{kind}s of other parts"),
        *counted(astray, f"{kind} outside of the parts", f"{kind}s outside of the parts"),
    )
    return Pieces(tuple(taken), listed([*trains]), left_out)


def _choices(root: str, series: Sequence[Sequence[str]]) -> str:
    """Return the paths that choose one of several sets: of a file, or of a folder that holds the pieces of one."""
    folders = [posixpath.dirname(names[0]) for names in series]
    return listed(
        [
            posixpath.join(root, folder if folder and folders.count(folder) == 1 else names[0])
            for folder, names in zip(folders, series, strict=True)
        ]
    )


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]
