"""References of decoded reconstructions: what an autoencoder makes of images, to compare generated ones with."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.images.frechet import floor, in_halves
from ..metrics.images.statistics import ImageStatistics
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.extractors import Extractor
from .accumulate import accumulate, as_batch, reduce_over
from .reference import SCORES, Reference, reference_of


def compute_decoded_reference(
    source: str,
    batches: Iterable[Tensor | ImageBatch],
    extractor: Extractor,
    name: str,
    digest: str,
    autoencoder: Autoencoder,
    *,
    accelerator: Accelerator | None = None,
    device: torch.device | str | None = None,
) -> Reference:
    """Compute a reference from what posterior means of batches of images (b, 3, size, size) in [-1, 1] decode to.

    name, digest: of the autoencoder. The reference's `floor` is the Fréchet distance of one half of
    these images to the other: what a generator as good as the images themselves would get, at half their number. Other
    arguments as in `compute_reference`.

    Raises:
        ValueError: for fewer than two images in all, and for reconstructions that are not finite.
    """
    with eval_mode(autoencoder, device) as on:
        batches = decoded(name, autoencoder, map(as_batch, batches), on)
        statistics = reduce_over(accumulate(batches, extractor, SCORES, also=(in_halves,)), accelerator)
    return decoded_reference_of(source, statistics, extractor, name, digest)


def decoded_reference_of(
    source: str, statistics: ImageStatistics, extractor: Extractor, name: str, digest: str
) -> Reference:
    """Return statistics of decoded images, collected by `in_halves` too, as a reference; as `reference_of`."""
    reference = reference_of(source, statistics, extractor)
    return replace(reference, autoencoder=name, autoencoder_digest=digest, floor=floor(statistics))


def decoded(
    name: str, autoencoder: Autoencoder, batches: Iterable[ImageBatch], device: torch.device
) -> Iterator[ImageBatch]:
    """Yield the batches with what their posterior means decode to in place of the images, on the device.

    Raises:
        ValueError: where it is not finite.
    """
    for batch in batches:
        output = autoencoder.decode(autoencoder.encode(batch.images.to(device)).mean.float()).float()
        if not output.isfinite().all():
            raise ValueError(f"{name} decodes to values that are not finite: check its weights")
        yield batch._replace(images=output)
