"""A set of images: opened, checked, split into training and held-out, each item a pure function of its position.

Opening reads no image, so that it takes seconds for many files. What happens to a bad one (corrupt, truncated, too
small) is one setting, `on_bad`. "skip" names it when it is read, and the next readable image stands in for it. "refuse"
decodes everything at opening and raises.
"""

import copy
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..files.threads import in_threads
from ..seeding import fraction, seeded
from .buckets import Buckets
from .decode import BadImageError, Frame, crop_resize, to_tensor
from .embedded import EmbeddedSource
from .fingerprint import Content, Contents
from .sources import Source, describe, open_source
from .stores import is_url
from .tables import HUB
from .walk import BadFile

Split = Literal["train", "held_out", "all"]

N_REQUESTS = 16  # to a store at a time, for each process that reads

log = logging.getLogger(__name__)


class ImageRow(NamedTuple):
    """One image (3, H, W) in [-1, 1], its label (-1: none), the bad files it stands in for, and its index."""

    image: Tensor
    label: int
    bad: tuple[BadFile, ...]
    item: int


class ImageBatch(NamedTuple):
    """Images (b, 3, H, W) in [-1, 1], labels (b,) int64 (-1: none), bad files met, indices in the set.

    n_total, n_classes: of the set; 0 if unknown.
    """

    images: Tensor
    labels: Tensor
    bad: tuple[BadFile, ...] = ()
    indices: tuple[int, ...] = ()
    n_total: int = 0
    n_classes: int = 0


@dataclass(frozen=True)
class ImageChoice:
    """Arguments that reopen a set of images, cropped at the centre and not mirrored; size: None if unknown."""

    source: str
    size: int | None = None
    split: Split = "all"
    held_out: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"size is {self.size}, expected at least one pixel")

    def open(self, size: int, *, labels: bool | None = True) -> "ImageSet":
        """Open the images as squares of `size` pixels; for errors see `open_images`."""
        return open_images(self.source, size, split=self.split, held_out=self.held_out, seed=self.seed, labels=labels)

    def is_available(self) -> bool:
        """Return whether the source exists; nothing is known of the hub and of stores."""
        is_elsewhere = self.source.startswith(HUB) or is_url(self.source)
        return self.source == "embedded" or is_elsewhere or Path(self.source).expanduser().exists()


class ImageSet(Contents, Dataset[ImageRow]):
    """Images of one split, as squares or in buckets. `bad` names what opening found in the whole source.

    choice: what opens them again. min_side: an image whose shorter side is under it is bad. A key is an index, or
    (index, epoch): crop position and flip are sampled anew in every epoch. Reading raises ValueError when no image of
    the split can be read.
    """

    def __init__(
        self,
        choice: ImageChoice,
        size: int,
        files: Source,
        items: Sequence[int],
        *,
        min_side: int = 0,
        crop: Literal["center", "random"] = "center",
        flip: bool = False,
    ) -> None:
        self.choice, self.source, self.size, self.bad = choice, choice.source, size, files.bad
        self.root, self.classes = files.root, files.classes
        self.names = tuple(files.names[item] for item in items)
        self.groups = None if files.groups is None else [int(files.groups[item]) for item in items]
        self._files, self._items, self._min_side, self._crop, self._flip = files, items, min_side, crop, flip
        self._buckets: Buckets | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def labels(self) -> list[int]:
        """Labels of all images, -1 for none."""
        return [self._files.labels[item] for item in self._items]

    def content(self, index: int) -> Content:
        """Return what is taken of an image for a fingerprint."""
        return self._files.content(self._items[index])

    def centred(self) -> Self:
        """Return the same images cropped at the centre and not mirrored."""
        centred = copy.copy(self)
        centred._crop, centred._flip = "center", False
        return centred

    def in_buckets(self, buckets: Buckets) -> Self:
        """Return the same images, each cut to the shape of its bucket, or of the one it stands in for."""
        bucketed = copy.copy(self)
        bucketed._buckets = buckets
        return bucketed

    def shape(self, index: int) -> tuple[int, int]:
        """Return height and width to which an image is cut."""
        return self._buckets.shapes[self._buckets.members[index]] if self._buckets else (self.size, self.size)

    def part(self, split: Split, *, held_out: float | None = None, seed: int | None = None) -> "ImageSet":
        """Return another split of the same opened source, cropped at the centre and not mirrored.

        held_out, seed: by default those that this split was made with.

        Raises:
            ValueError: when there is no image for it.
        """
        held_out = self.choice.held_out if held_out is None else held_out
        choice = replace(self.choice, split=split, held_out=held_out, seed=self.choice.seed if seed is None else seed)
        return ImageSet(choice, self.size, self._files, split_items(choice, self._files), min_side=self._min_side)

    def frame(self, index: int) -> Frame:
        """Return size and orientation of an image as its file has them; raise BadImageError where it has none."""
        return self._files.frame(self._items[index])

    def __getitem__(self, key: int | tuple[int, int]) -> ImageRow:
        index, epoch = (key, 0) if isinstance(key, int) else key
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        bad = []
        for position in range(index, index + len(self)):
            item = self._items[position % len(self)]
            try:
                picture = _read(self._files, item, self._min_side)
            except BadImageError as error:
                bad.append(BadFile(self._files.names[item], str(error)))
                continue
            generator = seeded("augment", self.choice.seed, epoch, index)
            position, side = torch.rand(2, generator=generator).tolist()
            cut = crop_resize(picture, self.shape(index), position if self._crop == "random" else None)
            image = to_tensor(cut)
            image = image.flip(-1) if self._flip and side < 0.5 else image
            return ImageRow(image, self._files.labels[item], tuple(bad), index)
        raise ValueError(_complaint(f"{self.source}: no image can be read", bad))

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[ImageRow]:
        """Return the images of a batch; those of a store by several threads, each of which waits for its request."""
        if not is_url(self.source):
            return [self[key] for key in keys]
        indices = [key if isinstance(key, int) else key[0] for key in keys]
        together = _together([None if self.groups is None else self.groups[index] for index in indices])
        with ThreadPoolExecutor(N_REQUESTS) as pool:
            read = pool.map(lambda positions: [(at, self[keys[at]]) for at in positions], together)
            rows = dict(row for group in read for row in group)
        return [rows[at] for at in range(len(keys))]


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
    labels: bool | None = True,
) -> ImageSet:
    """Open images as squares of `size` pixels: "embedded", or what `open_source` takes.

    What is found, and what is left out, is logged in one line; docs/images.md has the rule. A file is held out when a
    hash of (seed, name) falls below the fraction `held_out`, so that it stays on its side when others come or go; each
    side has at least one image. The embedded images have their own split. An image whose shorter side is under
    `min_side` (half of `size` by default) is bad. labels: whether they are asked for; otherwise there are none. None:
    those of class folders, if these can be classes.

    Raises:
        ValueError: when there is nothing to open, a choice to be made, no image for the split, labels that are asked
            for and are not classes, or, with on_bad="refuse", any bad image.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}, expected a fraction in [0, 1)")
    choice = ImageChoice(source, size, split, held_out, seed)
    files: Source = EmbeddedSource(size) if source == "embedded" else open_source(source, labels=labels)
    log.info("%s", describe(source, files))
    min_side = (size + 1) // 2 if min_side is None else min_side
    if on_bad == "refuse":
        _refuse_bad(source, files, min_side)
    return ImageSet(choice, size, files, split_items(choice, files), min_side=min_side, crop=crop, flip=flip)


def collate(rows: Sequence[ImageRow]) -> ImageBatch:
    """Join rows, perhaps none, in order."""
    images = torch.stack([row.image for row in rows]) if rows else torch.empty(0, 3, 0, 0)
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    return ImageBatch(images, labels, tuple(file for row in rows for file in row.bad), tuple(row.item for row in rows))


def _read(files: Source, item: int, min_side: int) -> Image.Image:
    picture = files.read(item)
    if min(picture.size) < min_side:
        raise BadImageError(f"{picture.width} x {picture.height} pixels, smaller than {min_side}")
    return picture


def _together(groups: Sequence[int | None]) -> list[list[int]]:
    """Return positions that one thread reads: those of a group, or one where there is no group."""
    positions: dict[object, list[int]] = {}
    for at, group in enumerate(groups):
        positions.setdefault((at, None) if group is None else group, []).append(at)
    return list(positions.values())


def _refuse_bad(source: str, files: Source, min_side: int) -> None:
    """Decode every image; raise ValueError if any is bad, or if opening found a bad file."""

    def complaint(item: int) -> str | None:
        try:
            _read(files, item, min_side)
        except BadImageError as error:
            return str(error)
        return None

    if files.groups is None:
        reasons = dict(enumerate(in_threads(complaint, len(files.names))))
    else:
        with ThreadPoolExecutor(N_REQUESTS) as pool:
            read = pool.map(lambda items: [(item, complaint(item)) for item in items], _together(files.groups))
            reasons = dict(row for group in read for row in group)
    bad = [*files.bad, *(BadFile(files.names[item], reason) for item, reason in reasons.items() if reason)]
    if bad:
        n = len(files.names) + len(files.bad)
        raise ValueError(_complaint(f"{source}: {len(bad)} of {n} images are bad", bad))


def split_items(choice: ImageChoice, files: Source) -> Sequence[int]:
    """Return which images of a source are of the split."""
    items, split, held_out = range(len(files.names)), choice.split, choice.held_out
    if choice.source == "embedded":
        return [item for item in items if split in ("all", files.names[item].split("/")[0])]
    if split == "all" or (held_out == 0 and split == "train"):
        return items
    if held_out == 0:
        raise ValueError("held_out is 0: there are no held-out images; give a fraction above 0")
    if len(items) < 2:
        raise ValueError(f"{files.names[0]} is the only image and cannot be split; give at least two")
    hashes = [fraction("held_out", choice.seed, name) for name in files.names]
    lowest, highest = min(hashes), max(hashes)
    is_out = [value == lowest or (value < held_out and value != highest) for value in hashes]
    return [item for item in items if is_out[item] == (split == "held_out")]


def _complaint(what: str, bad: Sequence[BadFile]) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
    return f"{what} ({named}{f'; and {len(bad) - 3} more' if len(bad) > 3 else ''})"
