"""Which images a step sees: one endless stream in which every image comes once a visit, resumable at any step.

Position p = step · batch_size + j of the stream is item permutation(seed, visit)[p mod n] on its visit p div n. Ranks
take contiguous slices of each global batch, so that the joined ranks see what one process would.
"""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..seeding import seeded
from .images import BadFile, Batch, ImageSet, Sample, collate
from .tensors import Images

GRACE = 60  # seconds in which a trainer that was asked to stop must have ended its step


class PositionedBatches:
    """For each step from `start` to `end` (None: for ever), this rank's keys (index, visit) of the global batch."""

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        if n < 1:
            raise ValueError("there are no images to order")
        if batch_size < 1 or batch_size % world:
            raise ValueError(f"batch_size is {batch_size}, expected a positive multiple of the {world} processes")
        self._n, self._batch_size, self._seed = n, batch_size, seed
        self._rank, self._share = rank, batch_size // world
        self._start, self._end = start, end

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        orders: dict[int, list[int]] = {}
        steps: Iterable[int] = count(self._start) if self._end is None else range(self._start, self._end)
        for step in steps:
            first = step * self._batch_size + self._rank * self._share
            places = [divmod(position, self._n) for position in range(first, first + self._share)]
            visits = {visit for visit, _ in places}
            orders = {visit: orders.get(visit) or self._order(visit) for visit in visits}
            yield [(orders[visit][place], visit) for visit, place in places]

    def _order(self, visit: int) -> list[int]:
        return torch.randperm(self._n, generator=seeded("order", self._seed, visit)).tolist()


def image_batches(
    images: ImageSet,
    batch_size: int,
    seed: int = 0,
    *,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    end: int | None = None,
    workers: int = 0,
) -> Iterator[Batch]:
    """One batch of batch_size / world images for each step from `start` to `end`; see PositionedBatches."""
    keys = PositionedBatches(len(images), batch_size, seed, rank=rank, world=world, start=start, end=end)
    return iter(
        DataLoader(
            images,
            batch_sampler=keys,
            collate_fn=collate,
            num_workers=min(workers, os.cpu_count() or 1),
            worker_init_fn=_outlive_the_trainer,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )
    )


def fixed_batches(images: Images, batch_size: int, n: int | None = None, *, workers: int = 0) -> Iterator[Batch]:
    """The first `n` images (None: all) in order, each once; the last batch may be smaller.

    A bad image is named in the batch and left out: a measurement never sees another image twice in its place.
    """
    first = range(len(images) if n is None else min(n, len(images)))
    n_good = 0
    for places, batch in batches_at(images, batch_size, first, workers=workers):
        if n_good := n_good + len(places):
            yield batch
    if not n_good:
        raise ValueError(f"{images.source}: none of {len(first)} images can be read")


def batches_at(
    images: Images, batch_size: int, places: Sequence[int], *, workers: int = 0
) -> Iterator[tuple[tuple[int, ...], Batch]]:
    """The images at these places in this order, each with its place; the last batch may be smaller, or empty.

    A bad image is named in a batch and left out.
    """
    samples = DataLoader(
        images,
        batch_size=None,
        sampler=places,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator(),
    )
    kept: list[tuple[int, Sample]] = []
    bad: list[BadFile] = []
    for place, sample in zip(places, samples, strict=True):
        if sample.bad:
            bad.append(sample.bad[0])
            continue
        # A full batch waits for the next good image, so that bad ones at the end still have a batch to be named in.
        if len(kept) == batch_size:
            yield _batch(kept, bad)
            kept, bad = [], []
        kept.append((place, sample))
    yield _batch(kept, bad)


def _batch(kept: Sequence[tuple[int, Sample]], bad: Sequence[BadFile]) -> tuple[tuple[int, ...], Batch]:
    if not kept:
        return (), Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), tuple(bad))
    images, labels, _ = collate([sample for _, sample in kept])
    return tuple(place for place, _ in kept), Batch(images, labels, tuple(bad))


def _outlive_the_trainer(worker: int) -> None:
    # A signal to the whole process group would end the workers at once, and the step that waits for them with an error.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE))


def _as_it_is(sample: Any) -> Any:
    return sample
