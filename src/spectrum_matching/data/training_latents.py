"""Cached latents as training reads them: by memory map, in an order that any step can be resumed in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..latent_space import LatentSpace
from .array_files import BadLatentError
from .latent_moments import joint_statistics
from .latent_sources import LOGVAR_RANGE, LatentRow
from .latents import LatentBatch, LatentSet, open_latents
from .mapped_shards import MappedTensor
from .order import PositionedBatches
from .seeding import fraction

REMEDY = "import the folder by `specmatch cache latents:FOLDER --out DIR`"


class TrainingLatents:
    """Posterior moments of images by number, and of the mirrored images where `has_flips`.

    source, digest, bad, channels, grid, latent_space: as of LatentSet. classes: names of the labels, which lie below
    n_classes (0: none are labelled). mean, std: over all channels, 0 and 1 where there is no
    latent_space. autoencoder: what encoded the images; image_size:
    their side in pixels; "" and None where the layout does not tell. is_stochastic: whether there are log-variances.
    """

    def __init__(self, latents: LatentSet) -> None:
        self.source, self.digest, self.bad = latents.source, latents.digest, latents.bad
        self.channels, self.grid, self.has_flips = latents.channels, latents.grid, latents.has_flips
        self.latent_space, self.autoencoder = latents.latent_space, latents.autoencoder
        self.image_size = latents.choice.size if latents.choice else None
        self._latents, self._mapped = latents, _mapped(latents)
        self._labels = torch.tensor(latents.labels())
        self.n_classes = max(len(latents.classes), int(self._labels.max()) + 1)
        self.classes = latents.classes or tuple(str(label) for label in range(self.n_classes))
        self.is_stochastic = "logvar" in self._mapped if self._mapped else latents.holds == "posterior"
        self.mean, self.std = joint_statistics(self.latent_space) if self.latent_space else (0.0, 1.0)

    def __len__(self) -> int:
        return len(self._latents)

    def space(self, statistics: Literal["channel", "global"] = "channel") -> LatentSpace:
        """What brings these latents to unit scale, channel by channel or by one value for all.

        Raises ValueError where no statistics lie with the latents.
        """
        if self.latent_space is None:
            raise ValueError(f"{self.source} holds no mean and std of its latents; {REMEDY}")
        if statistics == "channel":
            return self.latent_space
        return LatentSpace("shift and scale", (self.mean,), (self.std,))

    def read(self, keys: Sequence[tuple[int, bool]]) -> LatentBatch:
        """The rows of these numbers, in this order, of the mirrored images where a key says so.

        Raises ValueError, naming the shard or file, where one is damaged.
        """
        assert self.has_flips or not any(is_mirrored for _, is_mirrored in keys)
        if self._mapped:
            mean, logvar = (self._gathered(name, keys) for name in ("mean", "logvar"))
            assert mean is not None
        else:
            rows = [self._row(*key) for key in keys]
            logvars = [row.logvar for row in rows if row.logvar is not None]
            mean, logvar = torch.stack([row.mean for row in rows]), torch.stack(logvars) if logvars else None
        items = [item for item, _ in keys]
        return LatentBatch(mean, logvar, self._labels[items], tuple(items), ())

    def _gathered(self, name: str, keys: Sequence[tuple[int, bool]]) -> Tensor | None:
        if name not in self._mapped:
            return None
        straight, mirrored = self._mapped[name], self._mapped.get(f"{name}_flip")
        if mirrored is None or not any(is_mirrored for _, is_mirrored in keys):
            values = straight.gather([item for item, _ in keys])
        else:
            values = torch.empty(len(keys), *straight.shape)
            for tensor, side in ((straight, False), (mirrored, True)):
                places = [place for place, (_, is_mirrored) in enumerate(keys) if is_mirrored == side]
                values[places] = tensor.gather([keys[place][0] for place in places])
        # One number tells, nearly for free; finding where takes a second look.
        if not values.sum().isfinite() and not (finite := values.isfinite().flatten(1).all(1)).all():
            item = keys[int((~finite).nonzero()[0])][0]
            raise ValueError(
                f"{self._latents.name(item)} of {self.source} holds NaN or infinite values in {name}; delete that shard"
                " and cache its images again"
            )
        return values

    def _row(self, item: int, is_mirrored: bool) -> LatentRow:
        try:
            return self._latents.mirrored(item) if is_mirrored else self._latents[item]
        except BadLatentError as error:
            raise ValueError(
                f"{self._latents.name(item)} of {self.source} is damaged: {error}; {REMEDY}, which leaves it out"
            ) from error


def open_training_latents(folder: str | Path) -> TrainingLatents:
    """A cache for training: ours and LightningDiT's by memory map, others a file at a time.

    Raises ValueError, naming the shard where it is one that is damaged, for whatever does not open.
    """
    return TrainingLatents(open_latents(folder))


def training_latent_batches(
    latents: TrainingLatents,
    batch_size: int,
    seed: int = 0,
    *,
    flip: bool = True,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    end: int | None = None,
) -> Iterator[LatentBatch]:
    """One batch of batch_size / world latents for each step from `start` to `end`; see PositionedBatches.

    flip: half of the visits, drawn anew for each, show the mirrored image. Raises ValueError where the cache holds
    none: a mirrored latent is not the latent of the mirrored image.
    """
    if flip and not latents.has_flips:
        raise ValueError(
            f"{latents.source} holds no latents of mirrored images; cache again with --flips, or train without flips"
        )
    order = PositionedBatches(len(latents), batch_size, seed, rank=rank, world=world, start=start, end=end)
    return (
        latents.read([(item, flip and fraction("flip", seed, visit, item) < 0.5) for item, visit in keys])
        for keys in order
    )


def sample_moments(mean: Tensor, logvar: Tensor | None, generator: torch.Generator) -> Tensor:
    """Samples of posteriors (b, c, h, w): mean + std · noise, drawn on the CPU; the mean where there is no logvar."""
    if logvar is None:
        return mean
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + (logvar.clamp(*LOGVAR_RANGE) / 2).exp() * noise


def _mapped(latents: LatentSet) -> dict[str, MappedTensor]:
    if latents.shards is None:
        return {}
    tensors = latents.shards.tensors
    return {name: MappedTensor(latents.shards.paths, tensors[name]) for name in tensors if name != "label"}
