"""Cached latents as training reads them: by memory map, in an order that any step can be resumed in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..data.order import PositionedBatches
from ..latent_space import LatentSpace
from ..seeding import fraction
from .dataset import LatentBatch, LatentSet, open_latents
from .foreign.array_files import BadLatentError
from .mapped_shards import MappedTensor, Place, locate
from .sources import LOGVAR_RANGE, LatentRow
from .statistics import joint_statistics

Key = tuple[int, bool]
"""A latent by number, and whether it is that of the mirrored image."""

REMEDY = "import the folder by `specmatch cache latents:FOLDER --out DIR`"


class TrainingLatents:
    """Posterior moments of images by number, and of the mirrored images where `has_flips`.

    source, digest, bad, channels, grid, latent_space: as of LatentSet. classes: names of the labels, which lie below
    n_classes (0: none are labelled). mean, std: over all channels, 0 and 1 where there is no latent_space.
    autoencoder: what encoded the images; image_size: their side in pixels; "" and None where the layout does not tell.
    image_keys, image_digest: which images these are, as of LatentSet. is_stochastic: whether there are log-variances.
    """

    def __init__(self, latents: LatentSet) -> None:
        self.source, self.digest, self.bad = latents.source, latents.digest, latents.bad
        self.channels, self.grid, self.has_flips = latents.channels, latents.grid, latents.has_flips
        self.latent_space, self.autoencoder = latents.latent_space, latents.autoencoder
        self.image_size = latents.choice.size if latents.choice else None
        self.image_keys, self.image_digest = latents.image_keys, latents.image_digest
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

    def read(self, keys: Sequence[Key]) -> LatentBatch:
        """The rows of these numbers, in this order, of the mirrored images where a key says so.

        Raises ValueError, naming the shard or file, where one is damaged.
        """
        assert self.has_flips or not any(is_mirrored for _, is_mirrored in keys)
        items, sides = [item for item, _ in keys], [is_mirrored for _, is_mirrored in keys]
        if self._latents.shards is not None:
            places = locate(items, self._latents.shards.ends)
            mean, logvar = (self._gathered(name, places, sides) for name in ("mean", "logvar"))
            assert mean is not None
        else:
            rows = [self._row(*key) for key in keys]
            logvars = [row.logvar for row in rows if row.logvar is not None]
            mean, logvar = torch.stack([row.mean for row in rows]), torch.stack(logvars) if logvars else None
        return LatentBatch(mean, logvar, self._labels[items], tuple(items), ())

    def _gathered(self, name: str, places: Sequence[Place], sides: Sequence[bool]) -> Tensor | None:
        if name not in self._mapped:
            return None
        if not any(sides):
            return self._mapped[name].gather(places)
        values = torch.empty(len(places), self.channels, *self.grid)
        for key, side in ((name, False), (f"{name}_flip", True)):
            chosen = [n for n, is_mirrored in enumerate(sides) if is_mirrored == side]
            if chosen:
                values[chosen] = self._mapped[key].gather([places[n] for n in chosen])
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


def training_keys(
    latents: TrainingLatents,
    batch_size: int,
    seed: int = 0,
    *,
    flip: bool = True,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    end: int | None = None,
) -> Iterator[list[Key]]:
    """What to read for each step from `start` to `end`: batch_size / world latents; see PositionedBatches.

    flip: half of the epochs, drawn anew for each, show the mirrored image. Raises ValueError where the cache holds
    none: a mirrored latent is not the latent of the mirrored image.
    """
    if flip and not latents.has_flips:
        raise ValueError(
            f"{latents.source} holds no latents of mirrored images; cache again with --flips, or train without flips"
        )
    order = PositionedBatches(len(latents), batch_size, seed, rank=rank, world=world, start=start, end=end)
    return ([(item, flip and fraction("flip", seed, epoch, item) < 0.5) for item, epoch in keys] for keys in order)


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
    """The latents of `training_keys`, a batch for each step."""
    keys = training_keys(latents, batch_size, seed, flip=flip, rank=rank, world=world, start=start, end=end)
    return map(latents.read, keys)


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
