"""Rows of tensors in safetensors files, gathered straight from the mapped files: no file is opened, no header read."""

import bisect
import itertools
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
BLOCK = 32  # rows that are converted while they lie in the processor's cache


class MappedTensor:
    """One tensor (n, …) that lies in several files, in their order; the same name, shape but n and dtype in each.

    Raises ValueError, naming the shard, for another dtype or a header that does not fit the file.
    """

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        mapped = [_map(path, name) for path in paths]
        self.dtype, self.shape = mapped[0][1:]
        for path, (_, dtype, shape) in zip(paths, mapped, strict=True):
            if (dtype, shape) != (self.dtype, self.shape):
                raise ValueError(f"shard {path} holds {name} as {dtype} {shape}, the first {self.dtype} {self.shape}")
        self._rows = [rows for rows, _, _ in mapped]
        self._ends = list(itertools.accumulate(len(rows) for rows in self._rows))
        self._starts = [0, *self._ends]

    def __len__(self) -> int:
        return self._ends[-1]

    def gather(self, items: Sequence[int]) -> Tensor:
        """Rows (b, …) in float32."""
        values = torch.empty(len(items), *self.shape)
        block = torch.empty(min(BLOCK, len(items)), *self.shape, dtype=self.dtype)
        stored = block.flatten(1).view(torch.uint8).numpy()
        for first in range(0, len(items), BLOCK):
            part = items[first : first + BLOCK]
            for place, item in enumerate(part):
                shard = bisect.bisect_right(self._ends, item)
                stored[place] = self._rows[shard][item - self._starts[shard]]
            values[first : first + len(part)] = block[: len(part)]
        return values


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
