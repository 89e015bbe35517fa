"""Statistics of a set of images that streams by, in one process or in several."""

from collections.abc import Iterable
from dataclasses import replace

from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.images.score import SetScore
from ..metrics.images.statistics import N_KEPT, ImageStatistics
from ..nets.vision.extractors import Extractor


def unpack(batch: Tensor | ImageBatch) -> tuple[Tensor, tuple[int, ...] | None, list[str]]:
    """Return the images of a batch, their indices, None where they come in order, and a line for each bad file."""
    if isinstance(batch, Tensor):
        return batch, None, []
    return batch.images, batch.indices or None, list(map(str, batch.bad))


def accumulate(
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor | None,
    scores: Iterable[SetScore],
    n_kept: int = N_KEPT,
) -> ImageStatistics:
    """Return what `scores` keep of batches of images (b, 3, size, size) in [-1, 1]."""
    statistics = ImageStatistics(tuple(score.collect for score in scores), n_kept)
    for images, indices, bad in map(unpack, batches):
        statistics.add(images, extractor.extract if extractor else None, indices)
        statistics.bad += bad
    return statistics


def reduce_over(statistics: ImageStatistics, accelerator: Accelerator | None) -> ImageStatistics:
    """Merge the shares of all processes, in every process; `statistics` itself if there is one process.

    All processes must call it, also those without images.

    Raises:
        ValueError: in all processes, when their images differ in size.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return statistics
    whole = ImageStatistics(n_kept=statistics.n_kept, device=statistics.device, dtype=statistics.dtype)
    for share in gather_object([replace(statistics, collectors=())]):
        whole.merge(share)
    return whole
