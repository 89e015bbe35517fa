"""Streaming statistics of a set of images: moments of features, sums, and rows of some that stand for all."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ...records.coverage import Coverage
from ...records.measurement import Measurement
from ...seeding import spread_keys
from .pixels import round_to_bytes

log = logging.getLogger(__name__)

N_KEPT = 10_000
"""Images of which rows are kept: about 300 MB at 256 pixels and 2048 features."""

SLACK = 1.25
"""Rows are held of so many times as many images before those too many are dropped."""

Extract = Callable[[Tensor], Tensor | tuple[Tensor, Tensor | None, Tensor | None]]
"""Images (b, 3, H, W) in [-1, 1] → features (b, d), or a tuple of features, spatial features (b, s), logits (b, k)."""


class RunningMoments:
    """Count, mean (d,) and covariance (d, d) of vectors in float64; memory does not grow with their number."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, rows: Tensor) -> Self:
        """Add a batch of vectors (b, d).

        Raises:
            ValueError: for another shape, another d than in earlier batches, and values that are not finite.
        """
        rows = rows.detach().cpu().double()
        if rows.ndim != 2 or not rows.numel():
            raise ValueError(f"expected features (b, d), got {tuple(rows.shape)}")
        if not rows.isfinite().all():
            raise ValueError("features hold values that are not finite")
        mean = rows.mean(0)
        centred = rows - mean
        return self._include(len(rows), mean, centred.mT @ centred)

    @classmethod
    def from_moments(cls, count: int, mean: Tensor, covariance: Tensor) -> Self:
        """Return the moments of `count` > 1 vectors with this mean (d,) and covariance (d, d), divided by count − 1."""
        scatter = covariance.double() * (count - 1)
        return cls()._include(count, mean.double(), (scatter + scatter.mT) / 2)

    def merge(self, other: Self) -> Self:
        """Add the vectors of another accumulator."""
        return self._include(other.count, other.mean, other._scatter) if other.count else self

    def _include(self, count: int, mean: Tensor, scatter: Tensor) -> Self:
        # Chan, Golub & LeVeque (1983): squares about the running mean, so that a large mean costs no digits.
        if not self.count:
            self.count, self.mean, self._scatter = count, mean.clone(), scatter.clone()
            return self
        if mean.shape != self.mean.shape:
            raise ValueError(f"features have {len(mean)} values each, earlier ones had {len(self.mean)}")
        total = self.count + count
        shift = mean - self.mean
        self._scatter += scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
        return self

    def covariance(self) -> Tensor:
        """Return the covariance (d, d), divided by n − 1.

        Raises:
            ValueError: for fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 vectors, got {self.count}")
        return self._scatter / (self.count - 1)

    def scalar(self) -> Measurement:
        """Return the mean of single values (d = 1) with its standard error over them; one value alone has none."""
        error = math.sqrt(float(self.covariance()[0, 0]) / self.count) if self.count > 1 else None
        return Measurement(float(self.mean[0]), error)


class FeatureBatch(NamedTuple):
    """A batch of images as a score sees it.

    images (b, 3, size, size): in [-1, 1], rounded to 256 levels. numbers (b,): their positions in the whole set.
    is_kept (b,): whether rows of an image are kept. features, spatial, logits: what the extractor returns, or None.
    """

    images: Tensor
    numbers: Tensor
    is_kept: Tensor
    features: Tensor | None
    spatial: Tensor | None
    logits: Tensor | None

    def kept(self, values: Tensor) -> Tensor:
        """Select the entries of values (b, …) of images whose rows are kept."""
        return values[self.is_kept.to(values.device)]


class Collected(NamedTuple):
    """What a score keeps of a batch, by name.

    rows (n_kept, …): of its kept images. sums: over all of them. vectors (n, d): of any n of them, for their moments.
    """

    rows: Mapping[str, Tensor] = {}
    sums: Mapping[str, Tensor] = {}
    vectors: Mapping[str, Tensor] = {}


Collect = Callable[[FeatureBatch], Collected]


SCALING = "scale them: [0, 1] by 2x - 1, bytes by x / 127.5 - 1"
TELLING = 16
"""Images of which one has a value below 0, if they lie in [-1, 1]."""


@dataclass
class ImageStatistics:
    """Statistics of a set of images, or of one process's share of it.

    Of features and spatial features the moments are kept, of `n_kept` images the features, and what collectors keep, on
    the CPU. These images are spread over the set: those of the smallest `spread_keys`, so that any batches and shares
    of a set keep the same ones. size: side of the square images, 0 before the first. n_total, n_classes_total: of the
    set that the images are of; 0 if unknown. classes: labels that occur. device, dtype: of the features, or of the
    images without an extractor. bad: a line for each file that could not be read.
    """

    collectors: Iterable[Collect] = ()
    n_kept: int = N_KEPT
    n_images: int = 0
    size: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    moments: dict[str, RunningMoments] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    n_total: int = 0
    n_classes_total: int = 0
    classes: frozenset[int] = frozenset()
    _rows: dict[str, list[Tensor]] = field(default_factory=dict)
    _n_held: int = 0
    _largest_key: float = math.inf

    @property
    def n_features(self) -> int:
        """Number of values in a feature vector, 0 without features."""
        return len(self.moments["features"].mean) if "features" in self.moments else 0

    @property
    def images(self) -> Coverage:
        """How many images, of how many of the set."""
        n_classes = len(self.classes)
        total = max(self.n_total, self.n_images), max(self.n_classes_total, n_classes)
        return Coverage(self.n_images, total[0], n_classes, total[1])

    @property
    def kept_images(self) -> Coverage:
        """How many images rows are kept of, of how many."""
        labels = self.rows("labels")
        n_classes = 0 if labels is None else len(labels[labels >= 0].unique())
        return Coverage(min(self._n_held, self.n_kept), self.n_images, n_classes, len(self.classes))

    def add(
        self,
        images: Tensor,
        extract: Extract | None = None,
        numbers: Sequence[int] | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """Add images (b, c, size, size) in [-1, 1], which are rounded to 256 levels first, as a file would.

        numbers: their positions in the whole set; by default they follow those of earlier batches. labels (b,): -1 for
        none.

        Raises:
            ValueError: for images that are not square, of another size than earlier ones, no floats, or not finite.
        """
        if images.ndim != 4 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images are {tuple(images.shape)}, expected (b, 3, size, size)")
        if self.size not in (0, images.shape[-1]):
            raise ValueError(f"an image has {images.shape[-1]} pixels a side, earlier ones had {self.size}")
        if not images.isfinite().all():
            raise ValueError("images hold values that are not finite: check what generated them")
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}, expected floats in [-1, 1]; {SCALING}")
        if not self.n_images and len(images) >= TELLING and images.min() >= 0:
            log.warning("no value of the first %d images is below 0, expected [-1, 1]; %s", len(images), SCALING)
        images = round_to_bytes(images.float())
        extracted = extract(images) if extract else None
        features, spatial, logits = extracted if isinstance(extracted, tuple) else (extracted, None, None)
        source = images if features is None else features
        self.device, self.dtype = source.device, source.dtype
        in_order = range(self.n_images, self.n_images + len(images)) if numbers is None else numbers
        indices = torch.tensor(list(in_order), dtype=torch.int64)
        labels = torch.full_like(indices, -1) if labels is None else labels
        is_kept = spread_keys(indices) <= self._largest_key
        batch = FeatureBatch(images, indices, is_kept, features, spatial, logits)
        classes = frozenset(labels[labels >= 0].tolist())
        share = ImageStatistics(n_images=len(images), size=images.shape[-1], classes=classes)
        share.keep("indices", batch.kept(indices))
        share.keep("labels", batch.kept(labels))
        for name, vectors in (("features", features), ("spatial", spatial)):
            if vectors is not None:
                share.moments[name] = RunningMoments().add(vectors)
        if features is not None:
            share.keep("features", batch.kept(features).float().cpu())
        for collected in (collect(batch) for collect in self.collectors):
            share.sums |= collected.sums
            share.moments |= {name: RunningMoments().add(v) for name, v in collected.vectors.items() if len(v)}
            for name, rows in collected.rows.items():
                share.keep(name, rows.float().cpu())
        self.merge(share)

    def rows(self, name: str) -> Tensor | None:
        """Return the rows kept under a name, in the order of the images' numbers; None if there are none."""
        return torch.cat(self._rows[name])[self._kept()] if name in self._rows else None

    def row_names(self) -> tuple[str, ...]:
        """Return the names under which rows are kept."""
        return tuple(self._rows)

    def keep(self, name: str, rows: Tensor) -> None:
        """Append rows under a name."""
        self._rows.setdefault(name, []).append(rows)
        self._n_held += len(rows) if name == "indices" else 0

    def drop_rows(self, largest_key: float = math.inf) -> None:
        """Keep rows of `n_kept` images, and of none whose key is above `largest_key`."""
        kept = self._kept(largest_key)
        self._rows = {name: [torch.cat(rows)[kept]] for name, rows in self._rows.items()}
        self._n_held = len(kept)
        if len(kept) == self.n_kept:
            self._largest_key = float(spread_keys(self._rows["indices"][0]).max())

    def _kept(self, largest_key: float = math.inf) -> Tensor:
        """Return the positions, among rows as they came, of those that are kept, in the order of the images."""
        indices = torch.cat(self._rows["indices"]) if self._rows else torch.empty(0, dtype=torch.int64)
        keys = spread_keys(indices)
        best = keys.argsort()[: self.n_kept]
        best = best[keys[best] <= largest_key]
        return best[indices[best].argsort()]

    def merge(self, other: "ImageStatistics") -> None:
        """Add another share of the same set.

        Raises:
            ValueError: when the images' sizes differ.
        """
        self.bad.extend(other.bad)
        if not other.n_images:
            return
        if self.size not in (0, other.size):
            raise ValueError(f"cannot merge statistics of {self.size} px and {other.size} px images")
        self.n_images, self.size = self.n_images + other.n_images, other.size
        self.n_total = max(self.n_total, other.n_total)
        self.n_classes_total = max(self.n_classes_total, other.n_classes_total)
        self.classes |= other.classes
        for name, moments in other.moments.items():
            self.moments.setdefault(name, RunningMoments()).merge(moments)
        for name, total in other.sums.items():
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        for name, rows in other._rows.items():
            for some in rows:
                self.keep(name, some)
        if self._n_held > SLACK * self.n_kept:
            self.drop_rows()
