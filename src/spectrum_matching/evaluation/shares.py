"""Each process's share of a set of images, numbered: the joined processes see every image once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.images import BadFile, Sample
from ..data.tensors import Images


class Numbered(NamedTuple):
    """Images (b, 3, size, size) in [-1, 1], their numbers (b) in the whole set, and files that could not be read."""

    images: Tensor
    numbers: Sequence[int]
    bad: tuple[BadFile, ...] = ()


def share_of(
    images: Images, batch_size: int, n: int | None = None, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Numbered]:
    """The first `n` images (None: all), every `world`-th batch from the `rank`-th on.

    Bad images are left out, and named in a batch; only a share without any good image names none.
    """
    n = len(images) if n is None else min(n, len(images))
    starts = range(rank * batch_size, n, world * batch_size)
    numbers = [list(range(start, min(start + batch_size, n))) for start in starts]
    samples = DataLoader(
        images, batch_sampler=numbers, collate_fn=_as_they_are, num_workers=workers, generator=torch.Generator()
    )
    kept: list[tuple[int, Sample]] = []
    bad: list[BadFile] = []
    for own, batch in zip(numbers, samples, strict=True):
        good = [(number, sample) for number, sample in zip(own, batch, strict=True) if not sample.bad]
        # A batch waits for the next good image, so that bad ones at the end still have a batch to be named in.
        if good and kept:
            yield _numbered(kept, bad)
            bad = []
        kept = good or kept
        bad += [sample.bad[0] for sample in batch if sample.bad]
    if kept:
        yield _numbered(kept, bad)


def _numbered(kept: list[tuple[int, Sample]], bad: list[BadFile]) -> Numbered:
    images = torch.stack([sample.image for _, sample in kept])
    return Numbered(images, [number for number, _ in kept], tuple(bad))


def _as_they_are(samples: list[Sample]) -> list[Sample]:
    return samples
