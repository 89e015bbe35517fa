"""References of decoded reconstructions: what an autoencoder makes of images, to compare generated ones with."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.images import ImageBatch
from ..metrics.images.frechet import frechet_measurement
from ..metrics.images.statistics import ImageStatistics
from ..nets.autoencoder import Autoencoder, eval_mode
from ..nets.vision.extractors import Extractor
from ..records.measurement import Measurement
from ..seeding import spread_keys
from .accumulate import as_batch, note_source, reduce_over
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

    name, digest: of the autoencoder and of its weights. The reference's `floor` is the Fréchet distance of one half of
    these images to the other: what a generator as good as the images themselves would get, at half their number. Other
    arguments as in `compute_reference`.

    Raises:
        ValueError: for fewer than two images in all, and for reconstructions that are not finite.
    """
    halves = [ImageStatistics(tuple(score.collect for score in SCORES)) for _ in range(2)]
    n = 0
    with eval_mode(autoencoder, device) as on:
        for batch in decoded(name, autoencoder, map(as_batch, batches), on):
            # In order where a batch does not say which images it holds.
            indices = torch.tensor(batch.indices or range(n, n + len(batch.images)), dtype=torch.int64)
            n += len(batch.images)
            is_second = spread_keys(indices) >= 0.5
            for half, chosen in zip(halves, (~is_second, is_second), strict=True):
                rows = chosen.nonzero().flatten()
                if len(rows):
                    images = batch.images[rows.to(on)]
                    half.add(images, extractor.extract, indices[rows].tolist(), batch.labels[rows])
            note_source(halves[0], batch)
        first, second = (reduce_over(half, accelerator) for half in halves)
        if first.n_images + second.n_images < 2:
            raise ValueError(f"{source}: a reference needs at least 2 images, got {first.n_images + second.n_images}")
        floor = Measurement(None, refused=f"all {first.n_images + second.n_images} images lie in one half")
        if first.n_images and second.n_images:
            one, other = (half.moments["features"] for half in (first, second))
            floor = frechet_measurement(one, other, second.n_images)
        n_total, n_classes_total = first.n_total, first.n_classes_total
        first.merge(second)
        first.n_total, first.n_classes_total = n_total, n_classes_total
    return replace(reference_of(source, first, extractor), autoencoder=name, autoencoder_digest=digest, floor=floor)


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
