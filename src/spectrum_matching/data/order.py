"""Order in which images are read: shuffled and endless for training, each once for measuring.

Position p = step · batch_size + j of the training stream is item permutation(seed, epoch)[p mod n] of epoch p div n.
Ranks take contiguous slices of each global batch, so that together they see what one process would.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from ..seeding import seeded, spread
from .arrays import Images
from .images import ImageBatch, ImageSet, collate
from .walk import BadFile

GRACE = 60  # seconds in which a trainer that received a signal must have ended its step

Row = TypeVar("Row")


@dataclass(frozen=True)
class PositionedBatches:
    """Keys (index, epoch) of this rank in the global batch of each step from `start` to `end` (None: endless).

    Raises:
        ValueError: when there is nothing to order, or the ranks cannot share a batch evenly.
    """

    n: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    start: int = 0
    end: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("there are no images to order")
        if self.batch_size < 1 or self.batch_size % self.world:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a positive multiple of the {self.world} processes"
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        orders: dict[int, list[int]] = {}
        share = self.batch_size // self.world
        for step in count(self.start) if self.end is None else range(self.start, self.end):
            first = step * self.batch_size + self.rank * share
            positions = [divmod(position, self.n) for position in range(first, first + share)]
            epochs = {epoch for epoch, _ in positions}
            orders = {epoch: orders.get(epoch) or self._order(epoch) for epoch in epochs}
            yield [(orders[epoch][position], epoch) for epoch, position in positions]

    def _order(self, epoch: int) -> list[int]:
        return torch.randperm(self.n, generator=seeded("order", self.seed, epoch)).tolist()


def image_batches(images: ImageSet, order: PositionedBatches, workers: int = 0) -> Iterator[ImageBatch]:
    """Iterate over batches of images in this order; another image stands in for one that cannot be read."""
    return iter(
        DataLoader(
            images,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=_bounded(workers),
            worker_init_fn=_outlive_the_trainer,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )
    )


def fixed_batches(
    images: Images, batch_size: int, n: int | None = None, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[ImageBatch]:
    """Iterate over `n` images (None: all) spread over the set, in order; each rank takes every `world`-th batch.

    An image that cannot be read is named in a batch and left out: a measurement never sees another twice in its stead.
    A rank without any readable image yields and names nothing.

    Raises:
        ValueError: when one process reads all, and none can be read.
    """
    chosen = spread(len(images), n)
    starts = range(rank * batch_size, len(chosen), world * batch_size)
    is_empty = True
    for batch in _read(images, [chosen[start : start + batch_size] for start in starts], workers):
        if batch.indices:
            is_empty = False
            yield batch._replace(n_total=len(images), n_classes=len(images.classes))
    if is_empty and world == 1:
        raise ValueError(f"{images.source}: none of {len(chosen)} images can be read")


def batches_at(images: Images, batch_size: int, indices: Sequence[int], *, workers: int = 0) -> Iterator[ImageBatch]:
    """Iterate over the images of these indices, in this order.

    An image that cannot be read is named in a batch and left out; the last batch may have no images but bad files.
    """
    starts = range(0, len(indices), batch_size)
    return _read(images, [list(indices[start : start + batch_size]) for start in starts], workers)


def hold_back(
    groups: Iterable[tuple[Sequence[Row], Sequence[BadFile]]],
) -> Iterator[tuple[Sequence[Row], tuple[BadFile, ...]]]:
    """Join groups of rows that are empty to the one before, so that bad files at the end have a batch to be named in.

    Only where no group has rows, an empty one is yielded.
    """
    held: Sequence[Row] = ()
    bad: list[BadFile] = []
    for rows, files in groups:
        if rows and held:
            yield held, tuple(bad)
            bad = []
        held = rows or held
        bad += files
    if held or bad:
        yield held, tuple(bad)


def _read(images: Images, batches: Sequence[list[int]], workers: int) -> Iterator[ImageBatch]:
    loaded = DataLoader(
        images, batch_sampler=batches, collate_fn=_as_it_is, num_workers=_bounded(workers), generator=torch.Generator()
    )
    groups = (([row for row in rows if not row.bad], [row.bad[0] for row in rows if row.bad]) for rows in loaded)
    for rows, bad in hold_back(groups):
        yield collate(rows)._replace(bad=bad)


def _bounded(workers: int) -> int:
    """Return how many processes read: at most one for each processor, more only take memory."""
    return min(workers, os.cpu_count() or 1)


def _outlive_the_trainer(worker: int) -> None:
    # A signal to the whole process group would end the workers at once, and the step that waits for them with an error.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


def _as_it_is(rows: Any) -> Any:
    return rows
