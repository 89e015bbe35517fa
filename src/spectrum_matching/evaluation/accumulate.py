"""What is kept of a set of images while they stream by: sums of everything, and rows of the first so many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.images import BadFile
from ..metrics.images.distances import FeatureStatistics
from ..metrics.images.generated_spectrum import image_powers
from ..metrics.images.inception_score import InceptionSums
from ..metrics.images.sliced_wasserstein import draw_patches, laplacian_pyramid, n_scales
from ..nets.vision.extractors import Extractor
from ..seeding import seeded
from .shares import Numbered

N_KEPT = 10_000
"""Images of which rows are kept: some 300 MB at 256 pixels and 2048 features."""

N_PATCHES = 8
"""Patches that each of these gives at each scale."""


@dataclass
class ImageStatistics:
    """Of one set of images, or of one process's share of it.

    features, spatial: moments of all images. power (bands,): sum over all. rows: of the images with numbers below
    `n_kept`, under "indices" (n,), "features" (n, d), "power" (n, bands), "patches_0" … (n, 8, 147), on the CPU.
    size: side of the square images, 0 before the first. device, dtype: of the features, or of the images where there is
    no extractor. bad: files that could not be read.
    """

    n_kept: int = N_KEPT
    n_images: int = 0
    size: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    features: FeatureStatistics = field(default_factory=FeatureStatistics)
    spatial: FeatureStatistics = field(default_factory=FeatureStatistics)
    classes: InceptionSums = field(default_factory=InceptionSums)
    power: Tensor | None = None
    bad: list[BadFile] = field(default_factory=list)
    _rows: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, images: Tensor, extractor: Extractor | None, numbers: Sequence[int] | None = None) -> None:
        """Count in images (b, 3, size, size) in [-1, 1], rounded to 256 levels first, as every file of them would be.

        numbers: theirs in the whole set; by default they go on from those before. ValueError for images that are
        not square, of another size than those before, or not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images are {tuple(images.shape)}, expected (b, 3, size, size)")
        if self.size not in (0, images.shape[-1]):
            raise ValueError(f"an image has {images.shape[-1]} pixels a side, those before had {self.size}")
        if not images.isfinite().all():
            raise ValueError("images hold values that are not finite: look at what made them")
        images = round_to_bytes(images.float())
        self.device, self.dtype = images.device, images.dtype
        own = range(self.n_images, self.n_images + len(images)) if numbers is None else numbers
        at = torch.tensor(list(own), dtype=torch.int64)
        kept = at < self.n_kept
        self.n_images, self.size = self.n_images + len(images), images.shape[-1]

        power = image_powers(images).cpu()
        total = power.double().sum(0)
        self.power = total if self.power is None else self.power + total
        rows = {"indices": at, "power": power}
        if extractor is not None:
            found = extractor.extract(images)
            self.device, self.dtype = found.features.device, found.features.dtype
            self.features.add(found.features)
            rows["features"] = found.features.cpu().float()
            if found.spatial is not None:
                self.spatial.add(found.spatial)
            if found.logits is not None:
                self.classes.add(found.logits, at)
        for name, values in rows.items():
            self._rows.setdefault(name, []).append(values[kept])
        if kept.any() and (n := n_scales(self.size)):
            generators = [seeded("patches", number) for number in at[kept].tolist()]
            for scale, level in enumerate(laplacian_pyramid(images[kept.to(images.device)], n)):
                self._rows.setdefault(f"patches_{scale}", []).append(draw_patches(level, N_PATCHES, generators).cpu())

    def rows(self, name: str) -> Tensor | None:
        """What is kept under this name, in the order of the images' numbers; None where there is nothing."""
        if name not in self._rows:
            return None
        order = torch.cat(self._rows["indices"]).argsort()
        return torch.cat(self._rows[name])[order]

    def row_names(self) -> tuple[str, ...]:
        """The names under which rows are kept."""
        return tuple(self._rows)

    def keep(self, name: str, rows: Tensor) -> None:
        """Put `rows` under a name: for whoever brings them from another process or from a file."""
        self._rows.setdefault(name, []).append(rows)

    def mean_power(self) -> Tensor | None:
        """(bands,), or None without images."""
        return None if self.power is None else self.power / self.n_images

    def merge(self, other: "ImageStatistics") -> None:
        """Count in another share of the same set. ValueError where the images' sizes differ."""
        if not other.n_images:
            return
        if self.size not in (0, other.size):
            raise ValueError(f"images of {self.size} and of {other.size} pixels a side are no one set")
        self.n_images, self.size = self.n_images + other.n_images, other.size
        self.features.merge(other.features)
        self.spatial.merge(other.spatial)
        self.classes.merge(other.classes)
        self.bad.extend(other.bad)
        if other.power is not None:
            self.power = other.power if self.power is None else self.power + other.power
        for name in other.row_names():
            self._rows.setdefault(name, []).extend(other._rows[name])


def round_to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] to the nearest of the 256 values that a file can hold, clamped."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


def accumulate(
    batches: Iterable[Tensor | Numbered], extractor: Extractor | None, n_kept: int = N_KEPT
) -> ImageStatistics:
    """Of batches of images (b, 3, size, size) in [-1, 1]; those that come without numbers are counted as they come."""
    statistics = ImageStatistics(n_kept)
    for batch in batches:
        if isinstance(batch, Tensor):
            statistics.add(batch, extractor)
        else:
            statistics.add(batch.images, extractor, batch.numbers)
            statistics.bad.extend(batch.bad)
    return statistics
