"""Latents by number, read from where they lie, a row at a time: a file for each image, or shards of many."""

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from ..data.images import BadFile, check_in_threads
from .foreign.array_files import BadLatentError

LOGVAR_RANGE = (-30.0, 20.0)  # the clamp of every sampler in this family, which also keeps log 0 finite
MOST_OF_OTHER_SHAPE = 0.05
N_PROBED = 8
OPEN_SHARDS = 64

Statistic = Literal["mean", "logvar", "mean_flip", "logvar_flip", "label"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


class LatentRow(NamedTuple):
    """One image's latent: mean (c, h, w) float32, logvar the same or None, label (-1: none), and which image it is of.

    image: its name in the source, its position there, or None where the layout does not say.
    """

    mean: Tensor
    logvar: Tensor | None
    label: int
    image: str | int | None


class Examined(NamedTuple):
    """Which items are good by their headers, which are not, and the shape (c, h, w) of the good ones."""

    items: Sequence[int]
    bad: tuple[BadFile, ...]
    shape: tuple[int, int, int]


class LatentSource(Protocol):
    """Latents by number. `image_keys` holds `LatentRow.image` of each; `fingerprint` is what a digest hashes.

    has_flips: whether those of the mirrored images are there as well.
    """

    image_keys: Sequence[str | int | None]
    has_flips: bool

    def name(self, item: int) -> str:
        """File, or shard and row."""

    def fingerprint(self) -> Sequence[str]:
        """Names and byte counts of the files."""

    def examine(self) -> Examined:
        """Read all headers. Raises ValueError where no latent can be used, or shapes are mixed."""

    def read(self, item: int, is_mirrored: bool = False) -> LatentRow:
        """Raises BadLatentError."""

    def labels(self) -> Sequence[int]:
        """Of all items; where they lie with the moments, each file is read, and one that cannot be has none."""


class FileFormat(NamedTuple):
    """How one file holds moments (2c, h, w) and perhaps a label (-1: none); what the second half of the channels is."""

    shape: Callable[[Path], tuple[int, ...] | None]
    read: Callable[[Path], tuple[np.ndarray, int]]
    second: Literal["std", "logvar"]


class MirroredFiles(NamedTuple):
    """For each file that of the mirrored image, perhaps itself, and what reads the moments of that."""

    names: Sequence[str]
    read: Callable[[Path], tuple[np.ndarray, int]]


class FileLatents:
    """One file for each image. `labels`, where given, stand for those in the files."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        image_keys: Sequence[str | int | None],
        labels: Sequence[int] | None,
        file_format: FileFormat,
        mirrored: MirroredFiles | None = None,
    ) -> None:
        self.image_keys = image_keys
        self.has_flips, self._mirrored = mirrored is not None, mirrored
        self._root, self._names, self._labels, self._format = root, names, labels, file_format

    def name(self, item: int) -> str:
        return self._names[item]

    def fingerprint(self) -> Sequence[str]:
        return [f"{name}\0{_n_bytes(self._root / name)}" for name in self._names]

    def examine(self) -> Examined:
        verdicts = check_in_threads(lambda item: self._verdict(item, self._format.shape), len(self._names))
        for item in [item for item, verdict in enumerate(verdicts) if verdict is None][:N_PROBED]:
            verdicts[item] = self._verdict(item, self._shape_within)
        counts = Counter(verdict for verdict in verdicts if isinstance(verdict, tuple))
        shape = counts.most_common(1)[0][0] if counts else ()
        if counts.total() - counts[shape] > MOST_OF_OTHER_SHAPE * counts.total():
            shapes = ", ".join(f"{n} of {shape}" for shape, n in counts.most_common(3))
            raise ValueError(f"{self._root}: mixed shapes ({shapes}); keep latents of one shape in a folder")
        bad = tuple(
            BadFile(name, verdict if isinstance(verdict, str) else f"shape {verdict}, the others have {shape}")
            for name, verdict in zip(self._names, verdicts, strict=True)
            if verdict not in (None, shape)
        )
        if not counts:
            raise ValueError(f"{self._root}: no latent can be read ({bad[0].name}: {bad[0].reason})")
        items = [item for item, verdict in enumerate(verdicts) if verdict in (None, shape)]
        return Examined(items, bad, (shape[0] // 2, shape[1], shape[2]))

    def read(self, item: int, is_mirrored: bool = False) -> LatentRow:
        if is_mirrored:
            assert self._mirrored is not None
            moments, label = self._mirrored.read(self._root / self._mirrored.names[item])
        else:
            moments, label = self._format.read(self._root / self._names[item])
        _moments_shape(moments.shape)
        mean, second = np.split(_checked(moments), 2)
        if self._format.second == "std":
            if (second < 0).any():
                raise BadLatentError("negative standard deviations; does it hold log-variances?")
            with np.errstate(divide="ignore"):
                second = 2 * np.log(second)
        logvar = torch.from_numpy(second.clip(*LOGVAR_RANGE))
        label = label if self._labels is None else self._labels[item]
        return LatentRow(torch.from_numpy(mean.copy()), logvar, label, self.image_keys[item])

    def labels(self) -> Sequence[int]:
        return self._labels if self._labels is not None else [self._label(item) for item in range(len(self._names))]

    def _label(self, item: int) -> int:
        try:
            return self.read(item).label
        except BadLatentError:
            return -1

    def _verdict(self, item: int, shape: Callable[[Path], tuple[int, ...] | None]) -> tuple[int, ...] | str | None:
        """The shape of the moments, a reason against them, or None where only reading tells."""
        try:
            found = shape(self._root / self._names[item])
            return found if found is None else _moments_shape(found)
        except BadLatentError as error:
            return str(error)

    def _shape_within(self, path: Path) -> tuple[int, ...]:
        return self._format.read(path)[0].shape


class ShardLatents:
    """Rows of safetensors files, each held by memory map.

    tensors: what holds which statistic. shapes: (n, c, h, w) of each file; ends: how many rows lie in it and before.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        tensors: Mapping[Statistic, str],
        image_keys: Sequence[str | int | None],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:
        self.image_keys, self.paths, self.tensors, self.shapes = image_keys, paths, tensors, shapes
        self.has_flips = "mean_flip" in tensors and ("logvar" in tensors) == ("logvar_flip" in tensors)
        self.ends = list(itertools.accumulate(shape[0] for shape in shapes))
        self._open: dict[int, Any] = {}

    def name(self, item: int) -> str:
        shard, row = self._locate(item)
        return f"{self.paths[shard].name}:{row}"

    def fingerprint(self) -> Sequence[str]:
        return [f"{path.name}\0{_n_bytes(path)}" for path in self.paths]

    def examine(self) -> Examined:
        if not self.ends[-1]:
            raise ValueError(f"{self.paths[0].parent}: the shards hold no latents")
        c, h, w = self.shapes[0][1:]
        return Examined(range(self.ends[-1]), (), (c, h, w))

    def read(self, item: int, is_mirrored: bool = False) -> LatentRow:
        shard, row = self._locate(item)
        tensors = self._shard(shard)
        keys: tuple[Statistic, Statistic] = ("mean_flip", "logvar_flip") if is_mirrored else ("mean", "logvar")
        mean, logvar = (
            torch.from_numpy(_checked(_row(tensors, self.tensors[key], row).float().numpy()))
            if key in self.tensors
            else None
            for key in keys
        )
        assert mean is not None
        label = int(_row(tensors, self.tensors["label"], row)) if "label" in self.tensors else -1
        return LatentRow(mean, logvar, label, self.image_keys[item])

    def labels(self) -> Sequence[int]:
        if "label" not in self.tensors:
            return [-1] * self.ends[-1]
        return torch.cat([open_shard(path).get_tensor(self.tensors["label"]) for path in self.paths]).tolist()

    def _locate(self, item: int) -> tuple[int, int]:
        shard = bisect.bisect_right(self.ends, item)
        return shard, item - (self.ends[shard - 1] if shard else 0)

    def _shard(self, shard: int) -> Any:
        if shard not in self._open:
            if len(self._open) == OPEN_SHARDS:
                self._open.pop(next(iter(self._open)))
            self._open[shard] = open_shard(self.paths[shard])
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def open_shard(path: Path) -> Any:
    """A safetensors file by memory map. Raises ValueError in one line where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"shard {path} is damaged ({reason}); delete it and cache its images again") from error


def _row(tensors: Any, key: str, row: int) -> Tensor:
    return tensors.get_slice(key)[row : row + 1][0]


def _checked(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise BadLatentError("holds NaN or infinite values")
    return single


def _moments_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 3 or shape[0] % 2 or 0 in shape:
        raise BadLatentError(f"shape {shape}, expected (2 x channels, height, width)")
    return shape


def _n_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
