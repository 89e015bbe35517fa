"""Rows of tensors in a temporary file: what does not fit into memory between two passes."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor


class TensorFile:
    """Rows of one shape and dtype in a temporary file, which vanishes when it is closed or the process ends."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="specmatch-")  # noqa: SIM115
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype("float32")
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row; empty before the first."""
        return self._shape

    def add(self, rows: Tensor) -> None:
        """Append rows (b, …).

        Raises:
            ValueError: when the disk is full.
        """
        values = rows.detach().cpu().contiguous().numpy()
        if not self._n:
            self._shape, self._dtype = values.shape[1:], values.dtype
        try:
            self._file.write(values.tobytes())
            self._file.flush()
        except OSError as error:
            raise ValueError(
                f"cannot keep more than {self._n} latents in {tempfile.gettempdir()} ({error.strerror}): set TMPDIR to "
                f"a folder on a larger disk, or measure fewer images"
            ) from error
        self._n += len(values)

    def read(self, first: int, n: int) -> Tensor:
        """Read up to `n` rows from the row `first` on."""
        row = math.prod(self._shape) * self._dtype.itemsize
        self._file.seek(first * row)
        data = bytearray(self._file.read(n * row))
        self._file.seek(0, 2)
        return torch.from_numpy(np.frombuffer(data, self._dtype).reshape(-1, *self._shape))

    def at(self, rows: Sequence[int]) -> Tensor:
        """Read rows by their numbers, in this order."""
        return torch.cat([self.read(row, 1) for row in rows])

    def batches(self, size: int) -> Iterator[Tensor]:
        """Read all rows in order, `size` at a time."""
        return (self.read(first, size) for first in range(0, self._n, size))

    def close(self) -> None:
        """Release the disk space."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
