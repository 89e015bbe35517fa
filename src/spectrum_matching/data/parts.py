"""The training part of a data set that lies beside a part for validation or test.

Parts are told by whole words of the names of folders and tables: `train` beside `val`, `train2017` beside `val2017`,
`mnist_train.parquet` beside `mnist_test.parquet`. Two names belong together where their other words are the same, so
that `train_station` beside `bus_station` is no training part.
"""

import re
from collections.abc import Mapping

TRAIN = {"train", "training"}
OTHERS = {"val", "valid", "validation", "test", "testing"}
SHARD = re.compile(r"-\d+-of-\d+(-[0-9a-f]+)?$")

Siblings = tuple[tuple[str, ...], tuple[str, ...]]
"""Where a part lies, and the words of its name but for the one that says which part it is."""


def train_parts(places: Mapping[str, bool]) -> dict[str, str]:
    """Return the part that each place belongs to ("" for none), or nothing where there is no training part.

    places: paths, relative and in posix form, of folders and of tables without their suffix; True for one that holds
    what is to be opened. A training part holds some of that, and lies beside a part of another kind, empty or not. A
    part is named by its path, which ends in a word of TRAIN for a training part alone.
    """
    found: dict[Siblings, list[bool]] = {}
    split = {place: tuple(place.split("/")) for place in places}
    for place, holds in places.items():
        for depth, name in enumerate(split[place]):
            if (kind := _kind(name)) is not None:
                is_train, rest = kind
                has = found.setdefault((split[place][:depth], rest), [False, False])
                has[not is_train] |= holds or not is_train
    complete = {siblings for siblings, has in found.items() if all(has)}
    return {place: _part(split[place], complete) for place in places} if complete else {}


def is_train(part: str) -> bool:
    """Return whether a part that `train_parts` names is for training."""
    kind = _kind(part.rpartition("/")[2])
    return kind is not None and kind[0]


def _part(path: tuple[str, ...], complete: set[Siblings]) -> str:
    for depth, name in enumerate(path):
        kind = _kind(name)
        if kind is not None and (path[:depth], kind[1]) in complete:
            return "/".join(path[: depth + 1])
    return ""


def _kind(name: str) -> tuple[bool, tuple[str, ...]] | None:
    """Return whether a name says training rather than another part, and its other words; None if it says no part."""
    words = re.findall(r"[^\W\d_]+", SHARD.sub("", name.lower()))
    said = [word for word in words if word in TRAIN or word in OTHERS]
    if len(said) != 1:
        return None
    return said[0] in TRAIN, tuple(word for word in words if word != said[0])
