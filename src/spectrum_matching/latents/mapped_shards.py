"""Rows of tensors in safetensors files, gathered straight from the mapped files: no file is opened, no header read."""

import bisect
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
BLOCK = 32  # rows that are converted while they lie in the processor's cache


Place = tuple[int, int]
"""A shard, and a row in it."""


def locate(items: Sequence[int], ends: Sequence[int]) -> list[Place]:
    """Where items lie in shards whose rows end before `ends`."""
    shards = [bisect.bisect_right(ends, item) for item in items]
    starts = (0, *ends)
    return [(shard, item - starts[shard]) for shard, item in zip(shards, items, strict=True)]


class MappedTensor:
    """One tensor (n, …) that lies in several files; the same name, shape but n and dtype in each.

    Raises ValueError, naming the shard, for another dtype or a header that does not fit the file.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        mapped = [_map(path, name) for path in paths]
        self.dtype, self.shape = mapped[0][1:]
        for path, (_, dtype, shape) in zip(paths, mapped, strict=True):
            if (dtype, shape) != (self.dtype, self.shape):
                raise ValueError(f"shard {path} holds {name} as {dtype} {shape}, the first {self.dtype} {self.shape}")
        self._paths, self._name = paths, name
        self._rows = [rows for rows, _, _ in mapped]

    def gather(self, places: Sequence[Place]) -> Tensor:
        """Rows (b, …) in float32. Raises ValueError, naming the shard, for a value that is not finite."""
        values = torch.empty(len(places), *self.shape)
        block = torch.empty(min(BLOCK, len(places)), *self.shape, dtype=self.dtype)
        stored, rows = block.flatten(1).view(torch.uint8).numpy(), self._rows
        for first in range(0, len(places), BLOCK):
            part = places[first : first + BLOCK]
            for place, (shard, row) in enumerate(part):
                stored[place] = rows[shard][row]
            done = values[first : first + len(part)].copy_(block[: len(part)])
            if not done.sum().isfinite():  # one number tells, nearly for free; finding where takes a second look
                self._require_finite(done, part)
        return values

    def _require_finite(self, values: Tensor, places: Sequence[Place]) -> None:
        for value, (shard, row) in zip(values, places, strict=True):
            if not value.isfinite().all():
                raise ValueError(
                    f"shard {self._paths[shard]} is damaged: row {row} of {self._name} is not finite; delete it and"
                    " cache its images again"
                )


def _map(path: Path, name: str) -> tuple[np.ndarray, torch.dtype, tuple[int, ...]]:
    """The bytes of each row (n, bytes), by memory map, their dtype and their shape."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            said = json.loads(stream.read(length))[name]
        dtype, (n, *shape) = DTYPES[said["dtype"]], said["shape"]
        first, end = said["data_offsets"]
        if not n:
            return np.empty((0, torch.Size(shape).numel() * dtype.itemsize), np.uint8), dtype, tuple(shape)
        mapped = np.memmap(path, np.uint8, "r", 8 + length + first, (n, (end - first) // n))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"shard {path} is damaged ({reason}); delete it and cache its images again") from error
    return np.asarray(mapped), dtype, tuple(shape)  # a plain array is indexed in half the time
