"""Cached latents as a data set, whatever wrote them: what is known of them, and their rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.fingerprint import Contents, Fingerprint
from ..data.images import ImageChoice
from ..data.order import PositionedBatches
from ..data.walk import BadFile
from ..latent_space import LatentSpace
from ..methods.models import LOGVAR_RANGE, Gaussian
from ..seeding import fraction
from .gain_choice import GainChoice

Layout = Literal["specmatch", "repa", "lightningdit", "mar"]
Holds = Literal["posterior", "mean", "sample"]
Statistics = Literal["channel", "centred", "global"]
REMEDY = "import the folder by `specmatch cache latents:FOLDER --out DIR`"

Key = tuple[int, bool]
"""A row of a set, and whether its mirrored image is meant."""


def require_keys(keys: Sequence[Key]) -> None:
    """Raise ValueError for what is no key, such as a row alone."""
    for key in keys:
        if not isinstance(key, tuple | list) or len(key) != 2:
            raise ValueError(f"{key!r} is no key: expected pairs (row, whether its mirrored image is meant)")


class BadLatentError(Exception):
    """A stored latent that cannot be used; the message is the reason."""


class LatentRow(NamedTuple):
    """One image's latent: mean (c, h, w) float32, logvar the same or None, label (-1: none), and which image it is of.

    image: its name in the source, its index there, or None where the layout does not record it.
    """

    mean: Tensor
    logvar: Tensor | None
    label: int
    image: str | int | None


class CachedBatch(NamedTuple):
    """mean and logvar (b, c, h, w) float32, labels (b,) int64 (-1: none), rows of the set, and the bad files met."""

    mean: Tensor
    logvar: Tensor | None
    labels: Tensor
    rows: tuple[int, ...]
    bad: tuple[BadFile, ...] = ()


@dataclass(frozen=True)
class LatentInfo:
    """Facts about cached latents (channels, *grid).

    holds: what `mean` of a row is. flips: whether there are latents of the mirrored images as well. classes: names of
    the labels; autoencoder: what encoded the images, or the vision encoder of targets; autoencoder_digest: its
    own; empty where unknown. tile: side in pixels of the tiles in which larger images were encoded; None: whole.
    images: what opens the images; fingerprint: that which they must have; None where unknown. n_images: how many images
    (at least, at most) the latents were made from. latent_space: the normalisation to unit scale by channel,
    global_space: that of all channels together; None without statistics, which are of samples of the posteriors,
    mirrored images left out. gain: of these latents before diffusion. bad: images or files that could not be used.
    """

    holds: Holds = "posterior"
    channels: int = 0
    grid: tuple[int, int] = (0, 0)
    flips: bool = False
    classes: tuple[str, ...] = ()
    autoencoder: str = ""
    autoencoder_digest: str = ""
    tile: int | None = None
    images: ImageChoice | None = None
    fingerprint: Fingerprint | None = None
    n_images: tuple[int, int] = (0, 0)
    latent_space: LatentSpace | None = None
    global_space: LatentSpace | None = None
    gain: GainChoice = field(default_factory=GainChoice)
    bad: tuple[BadFile, ...] = ()

    @property
    def image_size(self) -> int | None:
        """Side of the images in pixels, None where unknown."""
        return self.images.size if self.images else None


class LatentSet(Dataset[LatentRow], ABC):
    """Latents of images in a folder, by row; indexing gives those of images that are not mirrored.

    source: the folder. notes: what a reader must know of the numbers. image_keys: `LatentRow.image` of each row.
    files: what their digest is taken of. Indexing raises BadLatentError for a file that turns out unusable when it is
    read.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        info: LatentInfo,
        image_keys: Sequence[str | int | None],
        notes: tuple[str, ...],
        files: Contents,
    ) -> None:
        self.source, self.layout, self.info = str(folder), layout, info
        self.image_keys, self.notes, self.files = image_keys, notes, files

    def __len__(self) -> int:
        return len(self.image_keys)

    def __getitem__(self, row: int) -> LatentRow:
        if not 0 <= row < len(self):
            raise IndexError(f"latent {row} of {len(self)}")
        return self.read(row)

    @property
    def digest(self) -> str:
        """Digest of the files; see `data.fingerprint`."""
        return self.files.digest

    @abstractmethod
    def read(self, row: int, is_mirrored: bool = False) -> LatentRow:
        """Read a row, or that of the mirrored image, where `info.flips`.

        Raises:
            BadLatentError: when it cannot be used.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """Return the file of a row, or its shard and the row there."""

    @abstractmethod
    def _read_labels(self) -> Sequence[int]: ...

    @cached_property
    def labels(self) -> Tensor:
        """Labels of all rows (n,) int64, -1 for none."""
        return torch.tensor(self._read_labels())

    @property
    def n_classes(self) -> int:
        """Number of classes, which labels lie below; 0 without labels."""
        return max(len(self.info.classes), int(self.labels.max()) + 1)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: by default their numbers."""
        return self.info.classes or tuple(str(label) for label in range(self.n_classes))

    def space(self, statistics: Statistics = "channel") -> LatentSpace:
        """Return the normalisation to unit scale, by channel or by one mean and standard deviation for all.

        "centred" has the mean of each channel and one standard deviation.

        Raises:
            ValueError: for other words, and when no statistics lie with the latents.
        """
        if statistics not in get_args(Statistics):
            raise ValueError(f"statistics is {statistics!r}, expected channel, centred or global")
        space = self.info.global_space if statistics == "global" else self.info.latent_space
        if space is None:
            raise ValueError(f"{self.source} holds no mean and std of its latents; {REMEDY}")
        return space.with_one_std if statistics == "centred" else space

    def read_batch(self, keys: Sequence[Key]) -> CachedBatch:
        """Read rows, in this order, of mirrored images where a key says so.

        Raises:
            ValueError: when a shard or file is damaged, which is named; for rows alone in place of keys.
        """
        require_keys(keys)
        rows = []
        for row, is_mirrored in keys:
            try:
                rows.append(self.read(row, is_mirrored))
            except BadLatentError as error:
                raise ValueError(
                    f"{self.name(row)} of {self.source} is damaged: {error}; {REMEDY}, which leaves it out"
                ) from error
        return stack_rows(rows, [row for row, _ in keys])


def stack_rows(rows: Sequence[LatentRow], numbers: Sequence[int], bad: tuple[BadFile, ...] = ()) -> CachedBatch:
    """Join rows, at least one, whose numbers in the set are given."""
    logvars = [row.logvar for row in rows if row.logvar is not None]
    return CachedBatch(
        torch.stack([row.mean for row in rows]),
        torch.stack(logvars) if logvars else None,
        torch.tensor([row.label for row in rows]),
        tuple(numbers),
        bad,
    )


def training_keys(latents: LatentSet, order: PositionedBatches, flip: bool = True) -> Iterator[list[Key]]:
    """Iterate over the keys of each step for `LatentSet.read_batch`, in this order.

    flip: show the mirrored image in half of the epochs, sampled anew for each image and epoch.

    Raises:
        ValueError: when `flip` is set and the cache holds no latents of mirrored images: a mirrored latent is not the
            latent of the mirrored image.
    """
    if flip and not latents.info.flips:
        raise ValueError(
            f"{latents.source} holds no latents of mirrored images; cache again with --flips, or train without flips"
        )
    return ([(row, flip and fraction("flip", order.seed, epoch, row) < 0.5) for row, epoch in keys] for keys in order)


def sample_moments(mean: Tensor, logvar: Tensor | None, generator: torch.Generator) -> Tensor:
    """Sample posteriors (b, c, h, w): mean + std · noise, sampled on the CPU; without logvar return the mean."""
    return mean if logvar is None else Gaussian(mean, logvar.clamp(*LOGVAR_RANGE)).sample(generator)
