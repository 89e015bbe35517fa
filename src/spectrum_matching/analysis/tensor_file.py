"""Rows of tensors on disk between two passes over them."""

import math
import tempfile
from collections.abc import Iterator

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

    def batches(self, size: int, n: int | None = None) -> Iterator[Tensor]:
        """Read the first `n` rows (None: all) in order, `size` at a time."""
        n = self._n if n is None else min(n, self._n)
        row = math.prod(self._shape) * self._dtype.itemsize
        for first in range(0, n, size):
            self._file.seek(first * row)
            data = bytearray(self._file.read(min(size, n - first) * row))
            self._file.seek(0, 2)
            yield torch.from_numpy(np.frombuffer(data, self._dtype).reshape(-1, *self._shape))

    def close(self) -> None:
        """Release the disk space."""
        self._file.close()
