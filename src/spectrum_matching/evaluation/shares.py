"""Each process's share of a set of images, numbered: the joined processes see every image once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from ..data.images import BadFile
from ..data.order import fixed_batches
from ..data.tensors import Images


class Numbered(NamedTuple):
    """Images (b, 3, size, size) in [-1, 1], their numbers (b) in the whole set, and files that could not be read."""

    images: Tensor
    numbers: Sequence[int]
    bad: tuple[BadFile, ...] = ()


def share_of(
    images: Images, batch_size: int, n: int | None = None, *, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Numbered]:
    """The first `n` images (None: all), every `world`-th batch from the `rank`-th on; see `fixed_batches`."""
    for batch in fixed_batches(images, batch_size, n, rank=rank, world=world, workers=workers):
        yield Numbered(batch.images, batch.indices, batch.bad)
