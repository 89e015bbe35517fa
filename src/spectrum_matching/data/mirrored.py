"""Which of U-ViT's numbered files are of mirrored images: 256 images are written, then the same mirrored, and so on."""

from collections.abc import Callable

import numpy as np

from .array_files import BadLatentError

BATCH = 256
N_LOOKED_AT = 8
# An image and its mirror image, mirrored back, against two images: 0.73 and 0.07 at the median with TAEF2.
LIKENESS = 0.4


def original(number: int, n: int, batch: int) -> int | None:
    """The image that file `number` of `n` is of, None for a mirrored one; with batch 0 none is mirrored."""
    if not batch:
        return number
    block, place = divmod(number, 2 * batch)
    return block * batch + place if place < _half(block, n, batch) else None


def mirror(number: int, n: int, batch: int) -> int:
    """The file of the mirror image of what file `number` of `n` is of, which is no mirrored one itself."""
    return number + _half(number // (2 * batch), n, batch)


def mirrored_batch(n: int, read: Callable[[int], tuple[np.ndarray, int]]) -> int:
    """The number of images after which the same come mirrored: 256, half of the `n` files, or 0 where none do.

    `read` gives a file's moments (2c, h, w) and label, or raises BadLatentError. Some files, spread over all, are
    looked at: label and mean must be those of the file one batch further, the mean mirrored.
    """
    return next((batch for batch in (BATCH, n // 2) if n % 2 == 0 and _is_mirrored(n, batch, read)), 0)


def _is_mirrored(n: int, batch: int, read: Callable[[int], tuple[np.ndarray, int]]) -> bool:
    originals = [number for number in range(n) if original(number, n, batch) is not None]
    likenesses = []
    for number in originals[:: -(-len(originals) // N_LOOKED_AT)]:
        try:
            one, label = read(number)
            other, label_further = read(mirror(number, n, batch))
        except BadLatentError:
            continue
        if label != label_further or one.shape != other.shape or one.ndim != 3:
            return False
        likenesses.append(_likeness(one[: len(one) // 2], other[: len(one) // 2, :, ::-1]))
    return bool(likenesses) and float(np.median(likenesses)) > LIKENESS


def _half(block: int, n: int, batch: int) -> int:
    return min(2 * batch, n - 2 * batch * block) // 2


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation over cells of (c, h, w), each channel centred; 0 where one is constant."""
    a, b = (np.nan_to_num(x.astype(float) - x.mean((-2, -1), keepdims=True)).ravel() for x in (one, other))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
