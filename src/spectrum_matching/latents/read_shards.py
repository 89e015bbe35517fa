"""Latents in safetensors shards, whose rows are read from memory-mapped files."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..data.decode import one_line
from ..data.fingerprint import Contents, FileContents
from ..files.os_errors import explain_read_error
from ..files.regular import require_regular
from .class_ids import MOST_CLASSES, class_ids
from .latent_set import BadLatentError, CachedBatch, Key, LatentInfo, LatentRow, LatentSet, Layout, require_keys

Statistic = Literal["mean", "logvar", "mean_flip", "logvar_flip", "label"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


BLOCK = 32  # rows that are converted while they lie in the processor's cache


class MappedTensor(NamedTuple):
    """A tensor (n, *shape) whose rows, as bytes (n, bytes), lie in the mapped files of several shards."""

    rows: list[np.ndarray]
    dtype: torch.dtype
    shape: torch.Size


class ShardLatents(LatentSet):
    """Latents in safetensors shards of shapes (n, c, h, w); tensors: the tensor that holds each statistic.

    Raises:
        ValueError: when the shards hold no latents.
    """

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        info: LatentInfo,
        paths: Sequence[Path],
        shapes: Sequence[tuple[int, ...]],
        tensors: Mapping[Statistic, str],
        image_keys: Sequence[str | int | None],
        *,
        notes: tuple[str, ...],
        files: Contents | None = None,
    ) -> None:
        if not image_keys:
            raise ValueError(f"{folder}: the shards hold no latents")
        self._paths, self._tensors = paths, tensors
        self._ends = list(itertools.accumulate(shape[0] for shape in shapes))
        self._mapped: dict[str, MappedTensor] = {}
        flips = "mean_flip" in tensors and ("logvar" in tensors) == ("logvar_flip" in tensors)
        c, h, w = shapes[0][1:]
        files = files or FileContents(folder, [path.name for path in paths])
        info = replace(info, channels=c, grid=(h, w), flips=flips)
        super().__init__(folder, layout, info, image_keys, notes, files)

    def name(self, row: int) -> str:
        """Return "SHARD:ROW"."""
        shard, position = self._locate(row)
        return f"{self._paths[shard].name}:{position}"

    def read(self, row: int, is_mirrored: bool = False) -> LatentRow:
        """Read a row; see `LatentSet.read`."""
        mean = self._gather("mean", [(row, is_mirrored)])[0]
        logvar = self._gather("logvar", [(row, is_mirrored)])[0] if "logvar" in self._tensors else None
        if not all(values.isfinite().all() for values in (mean, logvar) if values is not None):
            raise BadLatentError("holds NaN or infinite values")
        return LatentRow(mean, logvar, int(self.labels[row]), self.image_keys[row])

    def read_batch(self, keys: Sequence[Key]) -> CachedBatch:
        """Read rows; see `LatentSet.read_batch`."""
        require_keys(keys)
        values = {name: self._gather(name, keys) for name in ("mean", "logvar") if name in self._tensors}
        for name, gathered in values.items():
            if not gathered.sum().isfinite():  # one number tells, nearly for free; where it is takes another pass
                self._require_finite(name, gathered, keys)
        rows = [row for row, _ in keys]
        return CachedBatch(values["mean"], values.get("logvar"), self.labels[rows], tuple(rows))

    def _gather(self, name: str, keys: Sequence[Key]) -> Tensor:
        """Return rows (b, …) in float32."""
        if not self.info.flips and any(side for _, side in keys):
            raise ValueError(f"{self.source} holds no mirrored latents: cache them with --flips")
        sides = {side: self._map(f"{name}_flip" if side else name) for side in {side for _, side in keys}}
        places = [(sides[side].rows, *self._locate(row)) for row, side in keys]
        first = next(iter(sides.values()))
        values = torch.empty(len(keys), *first.shape)
        block = torch.empty(min(BLOCK, len(keys)), *first.shape, dtype=first.dtype)
        block_bytes = block.flatten(1).view(torch.uint8).numpy()
        for start in range(0, len(keys), BLOCK):
            part = places[start : start + BLOCK]
            for target, (rows, shard, position) in zip(block_bytes, part, strict=False):
                target[:] = rows[shard][position]
            values[start : start + len(part)] = block[: len(part)]
        return values

    def _require_finite(self, name: str, values: Tensor, keys: Sequence[Key]) -> None:
        for value, (row, _) in zip(values, keys, strict=True):
            if not value.isfinite().all():
                shard, position = self._locate(row)
                raise ValueError(
                    f"shard {self._paths[shard]} is damaged: row {position} of {name} is not finite; delete it and "
                    f"cache its images again"
                )

    def _read_labels(self) -> Sequence[int]:
        if "label" not in self._tensors:
            return [-1] * len(self)
        name = self._tensors["label"]
        n_classes = max(len(self.info.classes), MOST_CLASSES)
        labels = [class_ids(open_shard(path).get_tensor(name), path, n_classes) for path in self._paths]
        return torch.cat(labels).tolist()

    def _locate(self, row: int) -> tuple[int, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} cached latents")
        shard = bisect.bisect_right(self._ends, row)
        return shard, row - (self._ends[shard - 1] if shard else 0)

    def _map(self, name: Any) -> MappedTensor:
        if name not in self._mapped:
            tensors = [open_shard(path).get_tensor(self._tensors[name]) for path in self._paths]
            rows = [tensor.flatten(1).view(torch.uint8).numpy() for tensor in tensors]
            self._mapped[name] = MappedTensor(rows, tensors[0].dtype, tensors[0].shape[1:])
        return self._mapped[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": {}}


def open_shard(path: Path) -> Any:
    """Open a safetensors file by memory map.

    Raises:
        ValueError: when it cannot be read or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        require_regular(path)
        with path.open("rb"):  # safetensors takes every failure to open a file for a missing one
            pass
        return safe_open(str(path), framework="pt")
    except OSError as error:
        raise ValueError(f"cannot read shard {path}: {explain_read_error(error)}") from error
    except SafetensorError as error:
        raise ValueError(
            f"shard {path} is damaged ({one_line(error)}); delete it and cache its images again"
        ) from error
