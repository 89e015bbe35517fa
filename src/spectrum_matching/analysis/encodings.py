"""The latents of a set of images, kept on disk between the pass that encodes and the metrics that need all moments."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from ..metrics.catalogue import LATENT_METRICS
from ..metrics.latents.block_dct import BLOCK, BLOCK_DCT, latent_profile
from ..metrics.latents.moments import ChannelMoments
from ..metrics.latents.spectra import LatentSpectra, image_bands
from ..metrics.latents.sweep import LatentBatch, LatentMetric, LatentSweep
from ..metrics.rows import Rows
from ..records.analysis import Kind
from ..seeding import indexed_noise
from ..spectrum.filters import resize
from .reference_latents import StoredLatents
from .tensor_file import TensorFile

N_IMAGE_BINS = 32
BATCH_SIZE = 64
"""Latents that metrics read at once."""


class Encodings:
    """Posterior means, and samples if the encoder is stochastic, in the order of the images; close it after use.

    spectra: moments and bands of each kind. n_images: encoded so far.
    """

    def __init__(self, seed: int) -> None:
        self.spectra: dict[Kind, LatentSpectra] = {}
        self.n_images = 0
        self._image_rows = Rows()
        self._image_frequencies = torch.empty(0)
        self._grid_images, self._grid_moments = TensorFile(), ChannelMoments()
        self._labels, self._noise = Rows(), Rows()
        self._files: dict[Kind, TensorFile] = {}
        self._masks, self._features = TensorFile(), TensorFile()
        self._seed = seed

    def add(
        self,
        mean: Tensor,
        logvar: Tensor | None,
        images: Tensor | None,
        labels: Tensor | None = None,
        masks: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Add a batch: mean, logvar (b, c, h, w), images (b, 3, H, W), labels (b,), masks (b, h, w) bool.

        logvar: None for a deterministic encoder. features (b, d, h', w'): a vision encoder's tokens as a field.

        Raises:
            ValueError: as `LatentSpectra.add` does, and when the disk is full.
        """
        views: dict[Kind, Tensor] = {"mean": mean.float()}
        if logvar is not None:
            deviation = logvar.float().mul(0.5).exp()
            numbers = range(self.n_images, self.n_images + len(mean))
            noise = indexed_noise(mean.shape, numbers, "posterior", self._seed).to(mean.device)
            views["sample"] = views["mean"] + deviation * noise
            self._noise.add(deviation.square().mean((1, 2, 3)).cpu().double())
        for kind, latents in views.items():
            self.spectra.setdefault(kind, LatentSpectra()).add(latents, images)
            self._files.setdefault(kind, TensorFile()).add(latents)
        if images is not None:
            self._add_images(images, (mean.shape[-2], mean.shape[-1]))
        self._labels.add(torch.full((len(mean),), -1) if labels is None else labels)
        if masks is not None:
            self._masks.add(masks)
        if features is not None:
            self._features.add(features)
        self.n_images += len(mean)

    def _add_images(self, images: Tensor, grid: tuple[int, int]) -> None:
        bands, self._image_frequencies = image_bands(images, N_IMAGE_BINS)
        self._image_rows.add(bands)
        if min(grid) >= BLOCK:
            resized = resize(images, grid, "area").float()
            self._grid_images.add(resized)
            self._grid_moments.add(resized)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of latents, posterior means first."""
        return tuple(self._files)

    def image_bands(self) -> tuple[Tensor, Tensor] | None:
        """Return the images' bands on their own grid (n, bins) and their frequencies (bins,); None without images."""
        return (self._image_rows.all(), self._image_frequencies) if len(self._image_rows) else None

    def image_block_dct(self) -> tuple[float, ...]:
        """Return the block-DCT profile of the images averaged onto the latent grid; empty where there is none.

        Standardised as latents are: an offset would hide in DC and make images look smoother than they are.
        """
        if not len(self._grid_images):
            return ()

        def batches() -> Iterable[LatentBatch]:
            for rows in self._grid_images.batches(BATCH_SIZE):
                yield LatentBatch(rows, torch.full((len(rows),), -1))

        profile = latent_profile(LatentSweep(batches, self._grid_moments.moments(), (BLOCK_DCT,)))
        return tuple(profile.tolist()) if profile.isfinite().all() else ()

    def read(self, kind: Kind, rows: Sequence[int]) -> Tensor:
        """Read the latents (b, c, h, w) float32 of images, numbered in the order in which they came."""
        return self._files[kind].at(rows)

    def stored(self, kind: Kind) -> StoredLatents:
        """Return all latents of one kind with their labels, by their numbers in the order in which they came."""
        return StoredLatents(self._files[kind], self._labels.all())

    def n_classes(self) -> int:
        """Return the number of classes among the images, 0 without labels."""
        labels = self._labels.all()
        return len(labels[labels >= 0].unique())

    def batches(self, kind: Kind) -> Iterator[Tensor]:
        """Read all latents (b, c, h, w) float32."""
        return self._files[kind].batches(BATCH_SIZE)

    def sweep(self, kind: Kind, with_labels: bool, own: Sequence[LatentMetric] = ()) -> LatentSweep:
        """Run every metric of latents over those of one kind; posterior noise is that of the means.

        own: metrics that the catalogue does not have.
        """
        labels = self._labels.all() if with_labels else torch.full((self.n_images,), -1)
        noise = self._noise.all().split(BATCH_SIZE) if len(self._noise) and kind == "mean" else None

        def batches() -> Iterable[LatentBatch]:
            given = (file.batches(BATCH_SIZE) if len(file) else repeat(None) for file in (self._masks, self._features))
            masks, features = given
            columns = self.batches(kind), labels.split(BATCH_SIZE), masks, noise or repeat(None), features
            return (LatentBatch(*batch) for batch in zip(*columns, strict=False))

        return LatentSweep(batches, self.spectra[kind].moments(), (*LATENT_METRICS, *own))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (*self._files.values(), self._masks, self._features, self._grid_images):
            file.close()
