"""Class labels: the values that occur, numbered."""

from collections.abc import Sequence
from typing import Any

from ..files.digests import digest_json

FEW = 1000
REMEDY = "open it without labels (cache with --no-labels, train with --denoiser.no-labels)"


def number_labels(values: Sequence[Any], what: str) -> tuple[tuple[str, ...], list[int]]:
    """Number the values that occur 0 … k − 1 in sorted order; return their names, and the label of each value.

    values: whole numbers or texts, None for no label, −1. what: names them in the error.

    Raises:
        ValueError: for more than 1,000 classes that have fewer than two members on average: these are identifiers.
    """
    present = sorted({value for value in values if value is not None})
    n = sum(value is not None for value in values)
    if len(present) > FEW and 2 * len(present) > n:
        raise ValueError(
            f"{what}: {len(present):,} values for {n:,} images are identifiers rather than classes; {REMEDY}"
        )
    ids = {value: label for label, value in enumerate(present)}
    return tuple(map(str, present)), [-1 if value is None else ids[value] for value in values]


def labels_digest(classes: Sequence[str], labels: Sequence[int]) -> str:
    """Return the digest of the names of classes and of each item's label, "" where there are none.

    It stands beside the fingerprint of the images, which is the same whether labels are asked for or not.
    """
    if not classes and all(label < 0 for label in labels):
        return ""
    return digest_json({"classes": list(classes), "labels": list(labels)})
