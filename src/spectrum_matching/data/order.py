"""Order in which images are read: shuffled and endless for training, each once for measuring.

Each bucket of a training set (one, unless images of several shapes are not to be mixed) has a stream: position p of it
is the item p mod n of its n items, shuffled by (seed, epoch), of epoch p div n. A batch is the next batch_size items of
one stream. Those that do not fill a batch at the end of an epoch begin the bucket's first batch in the next one. The
batches that are full by the end of an epoch and were not before are taken in an order shuffled by (seed, epoch). Ranks
take contiguous slices of each global batch, so that together they see what one process would.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..seeding import seeded, spread
from .arrays import Images
from .images import ImageBatch, ImageSet, collate
from .row_groups import N_LANES
from .walk import BadFile

MIN_GROUPS = 256  # of images that can only be read in groups, a measurement takes from at least so many
GRACE = 60  # seconds in which a trainer that received a signal must have ended its step

Row = TypeVar("Row")


@dataclass(frozen=True)
class PositionedBatches:
    """Keys (index, epoch) of this rank in the global batch of each step from `start` to `end` (None: endless).

    buckets: number from 0 on of the bucket of each of the `n` items, which batches do not mix; None: all in one.
    groups: the group of each item, where items can only be read in groups: groups are shuffled, and items within each;
    a batch takes from `N_LANES` groups, each rank from its own share of them. None: each item is read by itself.

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
    buckets: Sequence[int] | None = None
    groups: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("there are no images to order")
        if self.buckets is not None and len(self.buckets) != self.n:
            raise ValueError(f"there are {self.n} images and buckets of {len(self.buckets)}: expected as many")
        if self.groups is not None and len(self.groups) != self.n:
            raise ValueError(f"there are {self.n} images and groups of {len(self.groups)}: expected as many")
        if self.batch_size < 1 or self.batch_size % self.world:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a positive multiple of the {self.world} processes"
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        buckets = torch.zeros(self.n, dtype=torch.long) if self.buckets is None else torch.tensor(self.buckets)
        sizes = buckets.bincount().tolist()
        orders: list[dict[int, list[int]]] = [{} for _ in sizes]
        share = self.batch_size // self.world
        # No step from `start` on is of an earlier epoch, as buckets leave some images of each to the next.
        begin = self.start * self.batch_size // self.n
        turns = chain.from_iterable(self._turns(sizes, epoch) for epoch in count(begin))
        before = sum(self._n_full(size, begin) for size in sizes)
        end = None if self.end is None else max(self.start, self.end) - before
        for bucket, number in islice(turns, self.start - before, end):
            first = number * self.batch_size + self.rank * share
            positions = [divmod(position, sizes[bucket]) for position in range(first, first + share)]
            known, epochs = orders[bucket], {epoch for epoch, _ in positions}
            orders[bucket] = order = {
                epoch: known.get(epoch) or self._order(epoch, buckets == bucket) for epoch in epochs
            }
            yield [(order[epoch][position], epoch) for epoch, position in positions]

    def _turns(self, sizes: Sequence[int], epoch: int) -> list[tuple[int, int]]:
        """Return the bucket of each batch of an epoch, and which batch of that bucket it is."""
        spans = [range(self._n_full(size, epoch), self._n_full(size, epoch + 1)) for size in sizes]
        turns = [bucket for bucket, span in enumerate(spans) for _ in span]
        order = torch.randperm(len(turns), generator=seeded("buckets", self.seed, epoch)).tolist()
        numbers = [iter(span) for span in spans]
        return [(bucket, next(numbers[bucket])) for bucket in (turns[place] for place in order)]

    def _n_full(self, size: int, epochs: int) -> int:
        """Return how many batches a bucket of `size` items fills in the first epochs."""
        return epochs * size // self.batch_size

    def _order(self, epoch: int, members: Tensor) -> list[int]:
        generator = seeded("order", self.seed, epoch)
        order = torch.randperm(self.n, generator=generator)
        if self.groups is not None:
            order = self._by_groups(order, torch.as_tensor(self.groups), generator)
        return order[members[order]].tolist()

    def _by_groups(self, order: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
        """Return the items of all lanes, each a share of the shuffled groups, as they are read side by side."""
        place = torch.randperm(int(groups.max()) + 1, generator=generator)
        order = order[place[groups[order]].argsort(stable=True)]
        places = torch.arange(self.n)
        lanes = places * N_LANES // self.n
        starts = (torch.arange(N_LANES) * self.n + N_LANES - 1) // N_LANES
        side_by_side = (places - starts[lanes]).argsort(stable=True)
        order, lanes = order[side_by_side], lanes[side_by_side]
        # Ranks take slices of a batch: its lanes lie side by side, so that ranks share few groups, or none.
        return order[(places // self.batch_size * N_LANES + lanes).argsort(stable=True)]


def image_batches(images: ImageSet, order: PositionedBatches, workers: int = 0) -> Iterator[ImageBatch]:
    """Iterate over batches of images in this order; another image stands in for one that cannot be read."""
    return _loaded(
        DataLoader(
            images,
            batch_sampler=order,
            collate_fn=collate,
            num_workers=_bounded(workers, images),
            worker_init_fn=_outlive_the_trainer,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )
    )


def fixed_batches(
    images: Images, batch_size: int, n: int | None = None, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[ImageBatch]:
    """Iterate over `n` images (None: all) chosen by `spread_items`; each rank takes every `world`-th batch.

    An image that cannot be read is named in a batch and left out: a measurement never sees another twice in its stead.
    A rank without any readable image yields and names nothing.

    Raises:
        ValueError: when one process reads all, and none can be read.
    """
    chosen = spread_items(images, n)
    starts = range(rank * batch_size, len(chosen), world * batch_size)
    is_empty = True
    for batch in _read(images, [chosen[start : start + batch_size] for start in starts], workers):
        if batch.indices:
            is_empty = False
            yield batch._replace(n_total=len(images), n_classes=len(images.classes))
    if is_empty and world == 1:
        raise ValueError(f"{images.source}: none of {len(chosen)} images can be read")


def spread_items(images: Images, n: int | None = None, seed: int = 0) -> list[int]:
    """Return `n` indices of a set, ascending, that stand for all, as `seeding.spread` does; None: all.

    Where images can only be read in groups, they are those of few groups, spread over the set.
    """
    return spread_in_groups(images.groups, len(images), n, seed)


def spread_in_groups(groups: Sequence[int] | None, n_total: int, n: int | None = None, seed: int = 0) -> list[int]:
    """Return `n` of `n_total` indices as `spread_items` does; groups: the group of each of them.

    They are of at least `MIN_GROUPS` groups, if there are so many: a few may hold a few classes alone.
    """
    if groups is None or n is None or n >= n_total:
        return spread(n_total, n, seed)
    _, numbers = torch.as_tensor(groups).unique(return_inverse=True)
    counts = numbers.bincount()
    n_groups = max(1, min(n, MIN_GROUPS, len(counts)), n * len(counts) // n_total)
    while int(counts[chosen := spread(len(counts), n_groups, seed)].sum()) < n:
        n_groups += 1
    items = torch.isin(numbers, torch.tensor(chosen)).nonzero()[:, 0]
    return items[spread(len(items), n, seed)].tolist()


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
    loaded = _loaded(
        DataLoader(
            images,
            batch_sampler=batches,
            collate_fn=_as_it_is,
            num_workers=_bounded(workers, images),
            generator=torch.Generator(),
        )
    )
    groups = (([row for row in rows if not row.bad], [row.bad[0] for row in rows if row.bad]) for rows in loaded)
    for rows, bad in hold_back(groups):
        yield collate(rows)._replace(bad=bad)


def _loaded(loader: DataLoader[Any]) -> Iterator[Any]:
    """Iterate over what a loader gives; an error in one of its processes is that of the line that raised it."""
    try:
        yield from loader
    except ValueError as error:
        text = str(error)
        if not text.startswith("Caught ") or "DataLoader worker process" not in text:
            raise
        raise ValueError(text.strip().splitlines()[-1].partition(": ")[2]) from error


def _bounded(workers: int, images: Images) -> int:
    """Return how many processes read: at most one for each processor, more only take memory.

    One where images can only be read in groups, since several would each read all groups; it reads by threads.
    """
    return min(workers, 1 if images.groups is not None else os.cpu_count() or 1)


def _outlive_the_trainer(worker: int) -> None:
    # A signal to the whole process group would end the workers at once, and the step that waits for them with an error.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


def _as_it_is(rows: Any) -> Any:
    return rows
