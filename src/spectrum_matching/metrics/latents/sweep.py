"""One pass over latents: what each metric keeps of an image, and its numbers at the end."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import GroupedSums
from ..metric import Metric
from ..rows import Rows, claim
from .moments import Moments, dead_channels


class LatentBatch(NamedTuple):
    """Raw latents (b, c, h, w) of some images.

    labels (b,): class ids, −1 for none. masks (b, h, w): bool, foreground, or None. noise (b,): mean posterior variance
    of each image, or None. features (b, d, h', w'): a vision encoder's tokens as a field, or None.
    """

    latents: Tensor
    labels: Tensor
    masks: Tensor | None = None
    noise: Tensor | None = None
    features: Tensor | None = None


class StandardisedBatch(NamedTuple):
    """A batch as metrics see it, on the CPU.

    latents (b, live, h, w): float64, channels that vary, with mean 0 and standard deviation 1 over the set. raw
    (b, c, h, w): float64, every channel as it is. The rest as in `LatentBatch`.
    """

    latents: Tensor
    raw: Tensor
    labels: Tensor
    masks: Tensor | None
    noise: Tensor | None
    features: Tensor | None = None


class BatchRows(NamedTuple):
    """What a metric computes of a batch, by name, a row an image (b, …).

    kept: rows that `LatentSweep.rows` returns. summed: rows of which only the sums by groups of images are kept.
    """

    kept: Mapping[str, Tensor] = {}
    summed: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class LatentMetric:
    """One metric of latents, or several that share what they keep of an image.

    metrics: what their numbers mean. numbers: from a finished sweep to a number for each of them, or fewer where one
    does not apply. collect: what to keep of a batch.
    """

    metrics: tuple[Metric, ...]
    numbers: Callable[["LatentSweep"], Mapping[str, Measurement]]
    collect: Callable[[StandardisedBatch], BatchRows] = lambda batch: BatchRows()


class LatentSweep:
    """Values that metrics kept of a set of latents (n, c, h, w).

    moments: of the raw latents. live (c,): bool, which channels vary; the others are left out. n_live: how many do.
    n: images. grid: (h, w). has_noise, has_features: whether there are posterior noise and a vision encoder's tokens.
    """

    def __init__(
        self, batches: Callable[[], Iterable[LatentBatch]], moments: Moments, metrics: Sequence[LatentMetric]
    ) -> None:
        self.moments, self.live = moments, ~dead_channels(moments.channel_stds)
        self.n, self.n_live, self.grid, self.has_features = 0, int(self.live.sum()), (0, 0), False
        self.has_noise = False
        self._batches, self._metrics = batches, metrics
        self._rows: defaultdict[str, Rows] = defaultdict(Rows)
        self._sums = GroupedSums()
        if self.n_live:
            for batch in self.read():
                self._add(batch)
            if not self.n:
                raise ValueError("no latents to measure")

    def read(self) -> Iterator[StandardisedBatch]:
        """Read all latents again, in the same order."""
        means, stds = (values[self.live].view(-1, 1, 1) for values in self.moments[2:])
        for latents, labels, masks, *rest in self._batches():
            raw = latents.cpu().double()
            standardised = (raw[:, self.live] - means) / stds
            yield StandardisedBatch(standardised, raw, labels.cpu(), None if masks is None else masks.cpu(), *rest)

    def _add(self, batch: StandardisedBatch) -> None:
        h, w = batch.raw.shape[-2:]
        if self.n and self.grid != (h, w):
            raise ValueError(f"latents of one set must have one grid, got {self.size} and {h} x {w}")
        self.grid = (h, w)
        self.has_noise, self.has_features = batch.noise is not None, batch.features is not None
        self._rows["labels"].add(batch.labels)
        self._sums.add("images", torch.ones(len(batch.raw), dtype=torch.float64), self.n)
        kept_names, summed_names = {"labels"}, {"images"}
        for metric in self._metrics:
            kept, summed = metric.collect(batch)
            claim(kept, kept_names)
            claim(summed, summed_names)
            for name, rows in kept.items():
                self._rows[name].add(rows)
            for name, rows in summed.items():
                self._sums.add(name, rows, self.n)
        self.n += len(batch.raw)

    def rows(self, name: str) -> Tensor:
        """Return all rows of one name (n, …) in the order of the images; empty if there are none."""
        return self._rows[name].all() if name in self._rows else torch.empty(0, dtype=torch.float64)

    def sums(self, *names: str) -> tuple[Tensor, ...]:
        """Return the sums of some names by group (g, …), with the number of images in each group (g,) last."""
        return tuple(self._sums[name] for name in (*names, "images"))

    @property
    def n_positions(self) -> int:
        """Positions of the latent grid."""
        return self.grid[0] * self.grid[1]

    @property
    def size(self) -> str:
        """The grid in words."""
        return f"{self.grid[0]} x {self.grid[1]}"

    def numbers(self, all_readings: bool = False) -> dict[str, Measurement]:
        """Return numbers by the keys of their metrics, refused with a reason where they would be biased or undefined.

        all_readings: also those of alternative readings.
        """
        kept = [m.key for metric in self._metrics for m in metric.metrics if all_readings or not m.is_alternative]
        if not self.n_live:
            return dict.fromkeys(kept, Measurement(None, refused="no channel varies: all latents are the same"))
        numbers: dict[str, Measurement] = {}
        for metric in self._metrics:
            numbers |= metric.numbers(self)
        return {key: numbers[key] for key in kept if key in numbers}
