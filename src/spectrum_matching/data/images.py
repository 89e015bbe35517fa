"""A set of images: opened, checked, split into training and held-out, each item a pure function of its position.

What happens to a bad image (corrupt, truncated, too small, not an image) is one setting, `on_bad`. "skip" leaves out
what its header gives away at opening, and replaces one that turns out truncated when it is read by the next readable
image; both are named. "refuse" decodes everything at opening and raises.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..files.threads import in_threads
from ..seeding import fraction, seeded
from .decode import BadImageError, crop_resize, to_tensor
from .embedded import EmbeddedSource
from .fingerprint import Content, Contents
from .sources import Source, open_source
from .walk import BadFile

Split = Literal["train", "held_out", "all"]


class ImageRow(NamedTuple):
    """One image (3, size, size) in [-1, 1], its label (-1: none), the bad files it stands in for, and its index."""

    image: Tensor
    label: int
    bad: tuple[BadFile, ...]
    item: int


class ImageBatch(NamedTuple):
    """Images (b, 3, size, size) in [-1, 1], labels (b,) int64 (-1: none), bad files met, indices in the set."""

    images: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...] = ()
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageChoice:
    """Arguments that reopen a set of images, cropped at the centre and not mirrored; size: None if unknown."""

    source: str
    size: int | None = None
    split: Split = "all"
    held_out: float = 0.05
    seed: int = 0

    def open(self, size: int) -> "ImageSet":
        """Open the images as squares of `size` pixels; for errors see `open_images`."""
        return open_images(self.source, size, split=self.split, held_out=self.held_out, seed=self.seed)

    def is_available(self) -> bool:
        """Return whether the source exists; nothing is known of a hub's."""
        return self.source == "embedded" or self.source.startswith("hub:") or Path(self.source).expanduser().exists()


class ImageSet(Contents, Dataset[ImageRow]):
    """Images of one split. `bad` names what opening found in the whole source.

    choice: what opens them again. A key is an index, or (index, epoch): crop position and flip are sampled anew in
    every epoch. Reading raises ValueError when no image of the split can be read.
    """

    def __init__(
        self,
        choice: ImageChoice,
        size: int,
        files: Source,
        items: Sequence[int],
        bad: tuple[BadFile, ...],
        *,
        crop: Literal["center", "random"],
        flip: bool,
    ) -> None:
        self.choice, self.source, self.size, self.bad = choice, choice.source, size, bad
        self.classes = files.classes
        self.names = tuple(files.names[item] for item in items)
        self._files, self._items, self._crop, self._flip = files, items, crop, flip

    def __len__(self) -> int:
        return len(self._items)

    def content(self, index: int) -> Content:
        """Return what is taken of an image for a fingerprint."""
        return self._files.content(self._items[index])

    def centred(self) -> Self:
        """Return the same images cropped at the centre and not mirrored."""
        centred = copy.copy(self)
        centred._crop, centred._flip = "center", False
        return centred

    def __getitem__(self, key: int | tuple[int, int]) -> ImageRow:
        index, epoch = (key, 0) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        bad = []
        for position in range(index, index + len(self)):
            item = self._items[position % len(self)]
            try:
                picture = self._files.read(item)
            except BadImageError as error:
                bad.append(BadFile(self._files.names[item], str(error)))
                continue
            generator = seeded("augment", self.choice.seed, epoch, index)
            position, side = torch.rand(2, generator=generator).tolist()
            image = to_tensor(crop_resize(picture, self.size, position if self._crop == "random" else None))
            image = image.flip(-1) if self._flip and side < 0.5 else image
            return ImageRow(image, self._files.labels[item], tuple(bad), index)
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
    """Open "embedded", a folder or parquet path, or "hub:NAME[:SPLIT]" as squares of `size` pixels.

    A file is held out when a hash of (seed, name) falls below the fraction `held_out`, so that it stays on its side
    when others come or go; each side has at least one image. The embedded images have their own split. An image whose
    shorter side is under `min_side` (half of `size` by default) is bad.

    Raises:
        ValueError: when there is nothing to open, no readable image, no image for the split, or, with on_bad="refuse",
            any bad image.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a fraction in [0, 1)")
    if size < 1:
        raise ValueError(f"size is {size}, expected at least one pixel")
    files: Source
    bad: tuple[BadFile, ...]
    if source == "embedded":
        files, bad = EmbeddedSource(size), ()
        items = [item for item, name in enumerate(files.names) if split in ("all", name.split("/")[0])]
    else:
        files = open_source(source)
        min_side = (size + 1) // 2 if min_side is None else min_side
        items, bad = _examine(files, min_side, full=on_bad == "refuse")
        if bad and on_bad == "refuse":
            raise ValueError(_complaint(f"{source}: {len(bad)} of {len(files.names)} images are bad", bad))
        if not items:
            raise ValueError(_complaint(f"{source}: no image can be read", bad))
        items = _side([files.names[item] for item in items], items, split, held_out, seed)
    choice = ImageChoice(source, size, split, held_out, seed)
    return ImageSet(choice, size, files, items, bad, crop=crop, flip=flip)


def collate(rows: Sequence[ImageRow]) -> ImageBatch:
    """Join rows, perhaps none, in order."""
    images = torch.stack([row.image for row in rows]) if rows else torch.empty(0, 3, 0, 0)
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    return ImageBatch(images, labels, tuple(file for row in rows for file in row.bad), tuple(row.item for row in rows))


def _examine(files: Source, min_side: int, full: bool) -> tuple[list[int], tuple[BadFile, ...]]:
    """Return good items and bad files; `full` decodes every image instead of reading its header."""

    def complaint(item: int) -> str | None:
        try:
            width, height = files.read(item).size if full else files.size(item)
        except BadImageError as error:
            return str(error)
        return f"{width} x {height} pixels, smaller than {min_side}" if min(width, height) < min_side else None

    complaints = in_threads(complaint, len(files.names))
    bad = tuple(BadFile(files.names[item], reason) for item, reason in enumerate(complaints) if reason)
    return [item for item, reason in enumerate(complaints) if reason is None], bad


def _side(names: Sequence[str], items: list[int], split: Split, held_out: float, seed: int) -> list[int]:
    if split == "all" or (held_out == 0 and split == "train"):
        return items
    if held_out == 0:
        raise ValueError("held_out is 0: there are no held-out images; give a fraction above 0")
    if len(items) < 2:
        raise ValueError(f"{names[0]} is the only image and cannot be split; give at least two")
    hashes = [fraction("held_out", seed, name) for name in names]
    lowest, highest = min(hashes), max(hashes)
    is_out = [value == lowest or (value < held_out and value != highest) for value in hashes]
    return [item for item, out in zip(items, is_out, strict=True) if out == (split == "held_out")]


def _complaint(what: str, bad: Sequence[BadFile]) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    return f"{what} ({named}{f'; and {len(bad) - 3} more' if len(bad) > 3 else ''})"
