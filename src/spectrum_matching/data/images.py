"""A data set of images: opened, checked, split in training and held-out, each item a pure function of its position.

What happens to a bad image (corrupt, truncated, too small, not an image) is one setting, `on_bad`. "skip" leaves out
what its header gives away at opening, and puts the next readable image in the place of one that turns out truncated
when it is read; both are named. "refuse" decodes everything at opening and raises.
"""

import copy
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..seeding import fraction, seeded
from .decode import BadImageError, crop_resize, to_tensor
from .embedded import EmbeddedSource
from .sources import Source, open_source

Split = Literal["train", "held_out", "all"]


class BadFile(NamedTuple):
    """A file that could not be used, and why."""

    name: str
    reason: str


class Sample(NamedTuple):
    """One image (3, size, size) in [-1, 1], its label (-1: none), and the bad files that it stands in for."""

    image: Tensor
    label: int
    bad: tuple[BadFile, ...]


class Batch(NamedTuple):
    """Images (b, 3, size, size) in [-1, 1], labels (b,) int64 (-1: none), and the bad files met."""

    images: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...]


class ImageSet(Dataset[Sample]):
    """Images of one split. `bad` names what opening found in the whole source; `digest` hashes names and byte counts.

    A key is an index, or (index, visit): crop position and flip are drawn anew for every visit. Reading raises
    ValueError when no image of the split can be read.
    """

    def __init__(
        self,
        source: str,
        found: Source,
        items: Sequence[int],
        bad: tuple[BadFile, ...],
        *,
        size: int,
        seed: int,
        crop: Literal["center", "random"],
        flip: bool,
    ) -> None:
        self.source, self.size, self.bad = source, size, bad
        self.classes = found.classes
        self.names = tuple(found.names[item] for item in items)
        self.digest = _digest(found, items)
        self._found, self._items, self._seed, self._crop, self._flip = found, items, seed, crop, flip

    def __len__(self) -> int:
        return len(self._items)

    def centred(self) -> Self:
        """Return the same images cropped at the centre and not mirrored."""
        centred = copy.copy(self)
        centred._crop, centred._flip = "center", False
        return centred

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        index, visit = (key, 0) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        bad = []
        for place in range(index, index + len(self)):
            item = self._items[place % len(self)]
            try:
                picture = self._found.read(item)
            except BadImageError as error:
                bad.append(BadFile(self._found.names[item], str(error)))
                continue
            generator = seeded("augment", self._seed, visit, index)
            position, side = torch.rand(2, generator=generator).tolist()
            image = to_tensor(crop_resize(picture, self.size, position if self._crop == "random" else None))
            return Sample(image.flip(-1) if self._flip and side < 0.5 else image, self._found.labels[item], tuple(bad))
        raise ValueError(_complaint(f"{self.source}: no image can be read", bad))


def open_images(
    source: str,
    size: int,
    *,
    split: Split = "train",
    held_out: float = 0.05,
    seed: int = 0,
    crop: Literal["center", "random"] = "center",
    flip: bool = False,
    on_bad: Literal["skip", "refuse"] = "skip",
    min_side: int | None = None,
) -> ImageSet:
    """The images of "embedded", of a folder or parquet path, or of "hub:NAME[:SPLIT]", as squares of `size` pixels.

    A file is held out when a hash of (seed, name) falls below the fraction `held_out`, so that it stays on its side
    when others come or go; each side has at least one image. The embedded images have their own split. An image whose
    shorter side is under `min_side` (half of `size` by default) is bad. Raises ValueError when there is nothing to
    open, no readable image, no image for the split, or, with on_bad="refuse", any bad image.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a fraction in [0, 1)")
    if size < 1:
        raise ValueError(f"size is {size}, expected at least one pixel")
    found: Source
    bad: tuple[BadFile, ...]
    if source == "embedded":
        found, bad = EmbeddedSource(size), ()
        items = [item for item, name in enumerate(found.names) if split in ("all", name.split("/")[0])]
    else:
        found = open_source(source)
        min_side = (size + 1) // 2 if min_side is None else min_side
        good, bad = _examine(found, min_side, full=on_bad == "refuse")
        if bad and on_bad == "refuse":
            raise ValueError(_complaint(f"{source}: {len(bad)} of {len(found.names)} images are bad", bad))
        if not good:
            raise ValueError(_complaint(f"{source}: no image can be read", bad))
        items = _side([found.names[item] for item in good], good, split, held_out, seed)
    return ImageSet(source, found, items, bad, size=size, seed=seed, crop=crop, flip=flip)


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples, in order, as one batch."""
    images, labels, bad = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.tensor(labels), tuple(file for files in bad for file in files))


def _examine(found: Source, min_side: int, full: bool) -> tuple[list[int], tuple[BadFile, ...]]:
    """The good items and the bad files; `full` decodes every image where otherwise its header is read."""

    def reasons(items: range) -> list[str | None]:
        return [_reason(found, item, min_side, full) for item in items]

    n = len(found.names)
    chunks = [range(start, min(start + 256, n)) for start in range(0, n, 256)]
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        verdicts = [reason for chunk in pool.map(reasons, chunks) for reason in chunk]
    good = [item for item, reason in enumerate(verdicts) if reason is None]
    return good, tuple(BadFile(found.names[item], reason) for item, reason in enumerate(verdicts) if reason)


def _reason(found: Source, item: int, min_side: int, full: bool) -> str | None:
    try:
        width, height = found.read(item).size if full else found.size(item)
    except BadImageError as error:
        return str(error)
    if min(width, height) < min_side:
        return f"{width} x {height} pixels, smaller than {min_side}"
    return None


def _side(names: Sequence[str], items: Sequence[int], split: Split, held_out: float, seed: int) -> list[int]:
    if split == "all":
        return list(items)
    if held_out == 0:
        if split == "held_out":
            raise ValueError("held_out is 0: there are no held-out images; give a fraction above 0")
        return list(items)
    if len(items) < 2:
        raise ValueError(f"{names[0]} is the only image and cannot be split; give at least two")
    places = [fraction("held_out", seed, name) for name in names]
    lowest, highest = min(places), max(places)
    out = [place == lowest or (place < held_out and place != highest) for place in places]
    return [item for item, is_out in zip(items, out, strict=True) if is_out == (split == "held_out")]


def _digest(found: Source, items: Sequence[int]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{found.names[item]}\0{found.n_bytes[item]}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _complaint(what: str, bad: Sequence[BadFile]) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    return f"{what} ({named}{f'; and {len(bad) - 3} more' if len(bad) > 3 else ''})"
