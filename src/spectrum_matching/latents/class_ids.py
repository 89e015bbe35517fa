"""Class labels as other tools stored them: bounded whole numbers, since each is a name and a row of an embedding."""

from pathlib import Path
from typing import Any

from torch import Tensor

MOST_CLASSES = 100_000
"""ImageNet-21k has 21,841; above this, a number is an identifier, or damaged."""


def class_id(value: Any, path: Path, name: str) -> int:
    """Return a label that was read from JSON, -1 for none.

    Raises:
        ValueError: naming the file and the label, for anything but a class or None.
    """
    if value is None:
        return -1
    if type(value) is not int or not -1 <= value < MOST_CLASSES:
        raise ValueError(f"{path}: the label of {name} is {value!r:.40}; {_expected(MOST_CLASSES)}")
    return value


def class_ids(values: Tensor, path: Path, n_classes: int = MOST_CLASSES) -> Tensor:
    """Return stored labels (n,) of so many classes as int64, -1 for none.

    Raises:
        ValueError: naming the file and the first label that is not a class.
    """
    if values.is_floating_point() or values.is_complex() or values.ndim != 1:
        raise ValueError(f"{path}: labels are {values.dtype} {tuple(values.shape)}; {_expected(n_classes)}")
    labels = values.long()
    odd = ((labels < -1) | (labels >= n_classes)).nonzero()
    if len(odd):
        row = int(odd[0])
        raise ValueError(f"{path}: the label of row {row} is {int(labels[row])}; {_expected(n_classes)}")
    return labels


def _expected(n_classes: int) -> str:
    return f"expected a class, a whole number below {n_classes:,}, or -1 for none"
