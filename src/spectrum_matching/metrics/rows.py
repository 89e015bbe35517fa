"""Rows that are kept of many images, appended batch by batch."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Rows:
    """Rows (n, …) of one shape and dtype in one buffer, which doubles as it fills.

    A list of small tensors, made among large temporary ones, would keep the heap from giving the memory of those back.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, rows: Tensor) -> None:
        """Append rows (b, …) to the CPU."""
        end = self._n + len(rows)
        if not self._n:
            self._buffer = torch.empty(0, *rows.shape[1:], dtype=rows.dtype)
        if end > len(self._buffer):
            grown = self._buffer.new_empty(max(end, 2 * len(self._buffer), 1024), *rows.shape[1:])
            grown[: self._n] = self._buffer[: self._n]
            self._buffer = grown
        self._buffer[self._n : end] = rows
        self._n = end

    def all(self) -> Tensor:
        """Return all rows (n, …)."""
        return self._buffer[: self._n]


def claim(names: Iterable[str], taken: set[str]) -> None:
    """Add names of rows to those that are taken.

    Raises:
        ValueError: if one is: rows of two metrics would be mixed.
    """
    for name in names:
        if name in taken:
            raise ValueError(f"two metrics keep rows named {name}: give those of your own another name")
        taken.add(name)
