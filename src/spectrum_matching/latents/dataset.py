"""A folder of cached latents as a data set, whoever wrote it: no autoencoder is needed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.images import BadFile
from ..data.order import hold_back
from ..files.digests import digest_lines
from .cache import is_cache, open_cache
from .foreign.array_files import BadLatentError
from .foreign.layouts import Layout, OpenedLayout, is_mar, is_repa, is_uvit, open_mar, open_repa, open_uvit
from .foreign.lightningdit import is_lightningdit, open_lightningdit
from .sources import LatentRow, ShardLatents

# Asked in this order: REPA's files would also pass for U-ViT's when they lie flat.
LAYOUTS = {
    "specmatch": (is_cache, open_cache, "index.json (our own)"),
    "repa": (is_repa, open_repa, "dataset.json above .npy files (REPA)"),
    "lightningdit": (is_lightningdit, open_lightningdit, ".safetensors shards (LightningDiT)"),
    "uvit": (is_uvit, open_uvit, "0.npy, 1.npy, … (U-ViT)"),
    "mar": (is_mar, open_mar, ".npz files (MAR)"),
}


class LatentSet(Dataset[LatentRow]):
    """Latents of images, none of them mirrored, read one by one; `bad` names what opening found and left out.

    channels, grid: c and (h, w). notes: what a reader must know of the numbers. latent_space: the statistics that lie
    with them. choice: of their images, where the layout tells; images: its source, if it is there. image_keys:
    `LatentRow.image` of each row. n_images: how many images (at least, at most) they were made from. digest: hashes
    names and byte counts. has_flips: whether `mirrored` has rows as well. shards: where rows lie in safetensors files,
    those. holds, classes, autoencoder: see OpenedLayout.

    Indexing raises BadLatentError for a file that turns out unusable when it is read.
    """

    def __init__(self, folder: Path, opened: OpenedLayout) -> None:
        items, self.bad, (self.channels, h, w) = opened.latents.examine()
        self.source, self.layout, self.grid = str(folder), opened.layout, (h, w)
        self.notes, self.latent_space, self.choice = opened.notes, opened.latent_space, opened.choice
        self.images = self.choice.source if self.choice and _is_at_hand(self.choice.source) else None
        self.holds, self.classes, self.autoencoder = opened.holds, opened.classes, opened.autoencoder
        self.has_flips = opened.latents.has_flips
        self.image_digest, self.n_images = opened.image_digest, opened.n_images
        self.digest = opened.digest or digest_lines(opened.latents.fingerprint())
        self.image_keys = [opened.latents.image_keys[item] for item in items]
        self.shards = opened.latents if isinstance(opened.latents, ShardLatents) else None
        self._latents, self._items = opened.latents, items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> LatentRow:
        if not 0 <= index < len(self):
            raise IndexError(f"latent {index} of {len(self)}")
        return self._read(index, False)

    def mirrored(self, index: int) -> LatentRow:
        """The row of the mirrored image; only where `has_flips`."""
        return self._read(index, True)

    def _read(self, index: int, is_mirrored: bool) -> LatentRow:
        row = self._latents.read(self._items[index], is_mirrored)
        expected = (self.channels, *self.grid)
        if tuple(row.mean.shape) != expected:
            raise BadLatentError(f"shape {tuple(row.mean.shape)}, the others have {expected}")
        return row

    def labels(self) -> list[int]:
        """Of all rows; for U-ViT's layout every file is read."""
        labels = self._latents.labels()
        return [labels[item] for item in self._items]

    def name(self, index: int) -> str:
        """The file of a row, or its shard and place."""
        return self._latents.name(self._items[index])


class LatentBatch(NamedTuple):
    """mean and logvar (b, c, h, w) float32, labels (b,) int64 (-1: none), rows of the set, and the bad files met."""

    mean: Tensor
    logvar: Tensor | None
    labels: Tensor
    rows: tuple[int, ...]
    bad: tuple[BadFile, ...]


def open_latents(folder: str | Path, layout: Literal["auto"] | Layout = "auto") -> LatentSet:
    """The latents of a cache by REPA, LightningDiT, U-ViT, MAR or of our own.

    Files that cannot be used are left out and named in `bad`. Raises ValueError in one line: no such folder, an empty
    one, one of no known layout, no latent that can be read, mixed shapes, a damaged shard.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no such folder: {path}")
    if not any(path.iterdir()):
        raise ValueError(f"{path} is empty")
    names = list(LAYOUTS) if layout == "auto" else [layout]
    sought = "; ".join(LAYOUTS[name][2] for name in names)
    for name in names:
        holds, opens, _ = LAYOUTS[name]
        if holds(path):
            return LatentSet(path, opens(path))
    raise ValueError(f"{path} holds no cached latents; looked for {sought}")


def spread_rows(latents: LatentSet, n: int | None = None) -> list[int]:
    """`n` rows (None: all) spread evenly over a set: caches are sorted by class, and the first ones would be of one."""
    n = len(latents) if n is None else min(n, len(latents))
    return [place * len(latents) // n for place in range(n)]


def latent_batches(latents: LatentSet, batch_size: int, rows: Sequence[int]) -> Iterator[LatentBatch]:
    """These rows in this order; the last batch may be smaller.

    A row that cannot be used is named in a batch and left out. Raises ValueError where none of them can be used.
    """
    groups = (_read_rows(latents, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size))
    for kept, bad in hold_back(groups):
        if not kept:
            raise ValueError(
                f"{latents.source}: none of {len(rows)} latents can be used ({bad[0].name}: {bad[0].reason})"
            )
        stacked = [row for _, row in kept]
        logvars = [row.logvar for row in stacked if row.logvar is not None]
        yield LatentBatch(
            torch.stack([row.mean for row in stacked]),
            torch.stack(logvars) if logvars else None,
            torch.tensor([row.label for row in stacked]),
            tuple(index for index, _ in kept),
            bad,
        )


def _read_rows(latents: LatentSet, rows: Sequence[int]) -> tuple[list[tuple[int, LatentRow]], list[BadFile]]:
    kept: list[tuple[int, LatentRow]] = []
    bad: list[BadFile] = []
    for index in rows:
        try:
            kept.append((index, latents[index]))
        except BadLatentError as error:
            bad.append(BadFile(latents.name(index), str(error)))
    return kept, bad


def _is_at_hand(source: str) -> bool:
    return source == "embedded" or source.startswith("hub:") or Path(source).expanduser().exists()


CACHED = "latents:"


def is_cached(source: str) -> bool:
    """Whether a source is a folder of cached latents: "latents:FOLDER"."""
    return source.startswith(CACHED)
