"""A row: one thing that both codes compute from the same inputs, and how far apart the results lie."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """One comparison.

    peer: the checkout. what: is compared. absolute, relative: the largest difference over all elements and cases, and
    that over the largest element of theirs; None for a row that only has values. values: sizes of deliberate
    differences, by name. note: what had to be put in the place of a missing package or weights.
    """

    name: str
    peer: str
    what: str
    absolute: float | None = None
    relative: float | None = None
    values: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def compared(name: str, peer: str, what: str, pairs: Iterable[tuple[Any, Any]], note: str = "", **values: Any) -> Row:
    """Return the row of pairs (ours, theirs) of tensors, arrays or numbers.

    Raises:
        ValueError: for a pair of different shapes, or a number that is not finite.
    """
    absolute = relative = 0.0
    for number, pair in enumerate(pairs):
        ours, theirs = (as_tensor(side) for side in pair)
        if ours.shape != theirs.shape or not theirs.numel():
            raise ValueError(f"{name}, pair {number}: shapes are {tuple(ours.shape)} and {tuple(theirs.shape)}")
        if not (ours.isfinite().all() and theirs.isfinite().all()):
            raise ValueError(f"{name}, pair {number}: not all numbers are finite")
        gap, largest = float((ours - theirs).abs().max()), float(theirs.abs().max())
        absolute = max(absolute, gap)
        relative = max(relative, gap / largest if largest else float(gap > 0))
    return Row(name, peer, what, absolute, relative, values, note)


def as_tensor(value: Any) -> Tensor:
    """Return a tensor, array or number as float64 on the CPU, without its graph."""
    return value.detach().double() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
