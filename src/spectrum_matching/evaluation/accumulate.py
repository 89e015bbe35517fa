"""Statistics of a set of images that streams by, in one process or in several."""

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.images.score import SetScore
from ..metrics.images.statistics import N_KEPT, Collect, ImageStatistics
from ..nets.vision.extractors import Extractor
from ..seeding import spread_keys


def as_batch(batch: Tensor | ImageBatch) -> ImageBatch:
    """Return a batch; images without labels or indices, which come in order, become one."""
    if isinstance(batch, Tensor):
        return ImageBatch(batch, torch.full((len(batch),), -1))
    return batch


def accumulate(
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor | None,
    scores: Iterable[SetScore],
    n_kept: int = N_KEPT,
    also: tuple[Collect, ...] = (),
) -> ImageStatistics:
    """Return what `scores` and `also` keep of images (b, 3, size, size) in [-1, 1]; n_kept: of how many images rows."""
    statistics = ImageStatistics((*(score.collect for score in scores), *also), n_kept)
    for batch in map(as_batch, batches):
        statistics.add(batch.images, extractor.extract if extractor else None, batch.indices or None, batch.labels)
        note_source(statistics, batch)
    return statistics


def note_source(statistics: ImageStatistics, batch: ImageBatch) -> None:
    """Note what a batch says of the set that it is of, and the bad files that it names."""
    statistics.bad += map(str, batch.bad)
    statistics.n_total, statistics.n_classes_total = batch.n_total, batch.n_classes


def reduce_over(statistics: ImageStatistics, accelerator: Accelerator | None) -> ImageStatistics:
    """Merge the shares of all processes, in every process; `statistics` itself if there is one process.

    All processes must call it, also those without images.

    Raises:
        ValueError: in all processes, when their images differ in size.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return statistics
    own = replace(statistics, collectors=())
    own.drop_rows(_largest_key(own))
    whole = ImageStatistics(n_kept=statistics.n_kept, device=statistics.device, dtype=statistics.dtype)
    for share in gather_object([own]):
        whole.merge(share)
    return whole


def _largest_key(own: ImageStatistics) -> float:
    """Return the key above which no process need send rows: that of the last row of the whole set that is kept."""
    shares = [share for share in gather_object([own.rows("indices")]) if share is not None]
    keys = spread_keys(torch.cat(shares)) if shares else torch.empty(0)
    return float(keys.kthvalue(own.n_kept).values) if len(keys) > own.n_kept else math.inf
