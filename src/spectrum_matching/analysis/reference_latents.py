"""Latents that models without training are fitted to: encoded for it, or of a cache, one sample of each posterior."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from ..data.fingerprint import fingerprint
from ..data.images import ImageBatch, ImageSet
from ..data.order import fixed_batches
from ..latent_space import LatentSpace
from ..latents.latent_set import LatentSet
from ..latents.statistics import latent_space
from ..methods.models import LOGVAR_RANGE
from ..metrics.generative.model import Progress, ReferenceLatents
from ..metrics.latents.moments import ChannelMoments
from ..metrics.rows import Rows
from ..nets.autoencoder import Autoencoder
from ..seeding import indexed_noise, spread
from .options import ReferenceData
from .tensor_file import TensorFile

BLOCK = 1024


class StoredLatents:
    """Latents in a temporary file, with their labels (n,)."""

    def __init__(self, file: TensorFile, labels: Tensor) -> None:
        self._file, self.labels, self.n = file, labels, len(file)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a latent."""
        c, h, w = self._file.shape
        return c, h, w

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `ReferenceLatents`."""
        return zip(self._file.batches(size), self.labels.split(size), strict=True)

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `ReferenceLatents`."""
        return self._file.at(indices)

    @cached_property
    def space(self) -> LatentSpace:
        """See `ReferenceLatents`."""
        return _measured_space(self)


class CachedLatents:
    """Rows of a cache, read from its memory-mapped files again for every block; nothing is kept of them.

    Reading raises ValueError for a file that is damaged.
    """

    def __init__(self, latents: LatentSet, rows: Sequence[int], seed: int) -> None:
        self._latents, self._rows, self._seed = latents, rows, seed
        self.labels, self.n = latents.labels[list(rows)], len(rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a latent."""
        return (self._latents.info.channels, *self._latents.info.grid)

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `ReferenceLatents`."""
        for start in range(0, self.n, size):
            numbers = range(start, min(start + size, self.n))
            yield self.read(numbers), self.labels[start : start + size]

    def read(self, indices: Sequence[int]) -> Tensor:
        """See `ReferenceLatents`."""
        batch = self._latents.read_batch([(self._rows[index], False) for index in indices])
        return sample_posterior(batch.mean, batch.logvar, indices, self._seed)

    @cached_property
    def space(self) -> LatentSpace:
        """See `ReferenceLatents`."""
        return _measured_space(self)


def _measured_space(latents: ReferenceLatents) -> LatentSpace:
    moments = ChannelMoments()
    for block, _ in latents.blocks(BLOCK):
        moments.add(block)
    return latent_space(moments)


def sample_posterior(
    mean: Tensor, logvar: Tensor | None, numbers: Sequence[int], seed: int, what: str = "reference"
) -> Tensor:
    """Return a sample (b, c, h, w) of the posteriors of the latents of these numbers; the mean without logvar.

    what: names the noise.
    """
    if logvar is None:
        return mean
    noise = indexed_noise(mean.shape, numbers, what, seed).to(mean.device)
    return mean + logvar.clamp(*LOGVAR_RANGE).mul(0.5).exp() * noise


@contextmanager
def open_reference_latents(
    reference: ReferenceData,
    autoencoder: Autoencoder,
    *,
    device: torch.device,
    batch_size: int,
    seed: int,
    progress: Progress,
) -> Iterator[tuple[ReferenceLatents, str]]:
    """Open the latents of a reference, and the digest of what they are of; images are encoded into a temporary file.

    autoencoder: in eval mode on the device. progress: called with the number of images encoded and their total.

    Raises:
        ValueError: when fewer than two can be read, a latent is not finite, or the disk is full.
    """
    data, n = reference.data, reference.n_chosen
    if isinstance(data, LatentSet):
        known = data.info.fingerprint
        yield CachedLatents(data, spread(len(data), n), seed), known.digest if known else data.digest
        return
    with TensorFile() as file:
        stored, indices = encode_samples(
            file, autoencoder, data, n, "reference", device=device, batch_size=batch_size, seed=seed, progress=progress
        )
        yield stored, fingerprint(data, indices).digest


def encode_samples(
    file: TensorFile,
    autoencoder: Autoencoder,
    data: ImageSet,
    n: int,
    what: str,
    *,
    device: torch.device,
    batch_size: int,
    seed: int,
    progress: Progress,
    each: Callable[[ImageBatch, Tensor], None] = lambda batch, mean: None,
) -> tuple[StoredLatents, list[int]]:
    """Encode n images spread over a set into a file: a sample of each posterior. Return these, and the images' indices.

    what: names the noise. each: called with every batch, on the device, and its posterior means.

    Raises:
        ValueError: when fewer than two can be read, a latent is not finite, or the disk is full.
    """
    labels, indices, done = Rows(), list[int](), 0
    for batch in fixed_batches(data, batch_size, n):
        images = batch.images.to(device)
        posterior = autoencoder.encode(images)
        mean, logvar = posterior.mean.float(), posterior.logvar.float() if autoencoder.is_stochastic else None
        latents = sample_posterior(mean, logvar, range(len(file), len(file) + len(images)), seed, what)
        if not latents.isfinite().all():
            raise ValueError(f"{data.source}: latents of the {what} are not finite: check the weights")
        file.add(latents)
        labels.add(batch.labels)
        indices += batch.indices
        each(batch._replace(images=images), mean)
        done += len(images) + len(batch.bad)
        progress(done, n)
    if len(file) < 2:
        raise ValueError(f"{data.source}: fewer than two images of the {what} can be read")
    return StoredLatents(file, labels.all()), indices
