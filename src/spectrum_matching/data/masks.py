"""Foreground masks of images, cropped as the images are and reduced to the latent grid.

A position is foreground where any mask pixel that touches it is, so that thin objects survive (iREPA pools a 256 × 256
mask by 16 × 16 maxima, which is the same when the mask is as large as the image).
"""

import itertools
import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .arrays import Images
from .decode import one_line, readable

FORMATS = ("PNG", "BMP", "TIFF", "GIF", "PPM")  # lossless ones, which keep zero zero


class MaskSet:
    """Masks of images; `missing` names the images without one."""

    def __init__(self, root: Path, files: Sequence[str | None], images: Images) -> None:
        self.missing = tuple(images.names[index] for index, file in enumerate(files) if file is None)
        self._root, self._files, self._size = root, files, images.size

    def read(self, indices: Sequence[int], grid: tuple[int, int]) -> Tensor:
        """Return masks (b, h, w), bool, of images on the grid (h, w); all background for an image without one.

        Raises:
            ValueError: when a mask cannot be read.
        """
        files = [self._files[index] for index in indices]
        nothing = torch.zeros(grid, dtype=torch.bool)
        return torch.stack(
            [nothing if f is None else reduce_mask(_foreground(self._root / f), self._size, grid) for f in files]
        )


def open_masks(folder: str | Path, images: Images) -> MaskSet:
    """Open the masks below `folder` that have the relative path of an image but for the suffix.

    A pixel that is not zero, and not transparent, is foreground. The images are assumed to be cropped at the centre and
    not mirrored.

    Raises:
        ValueError: when there is no such folder, or no image has a mask.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ValueError(f"no such folder of masks: {root}")
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    by_stem = {posixpath.splitext(name)[0]: name for name in sorted(names, reverse=True)}
    files = [by_stem.get(posixpath.splitext(name)[0]) for name in images.names]
    if not any(files):
        expected = posixpath.splitext(images.names[0])[0] + ".png"
        raise ValueError(f"{root} holds a mask of none of {len(files)} images; {images.names[0]} needs {expected}")
    return MaskSet(root, files, images)


def reduce_mask(mask: np.ndarray, size: int, grid: tuple[int, int]) -> Tensor:
    """Reduce a mask (H, W) to (h, w) bool: the centre square that `crop_resize` cuts, pooled by maxima."""
    height, width = mask.shape
    rows, columns = (
        _spans(n, whole, size, positions)
        for n, whole, positions in zip((height, width), resized(height, width, size), grid, strict=True)
    )
    bands = np.stack([mask[start:end].any(0) for start, end in rows])
    return torch.from_numpy(np.stack([bands[:, start:end].any(1) for start, end in columns], axis=1))


def resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width to which `crop_resize` resizes a picture before it cuts the square."""
    while min(height, width) >= 2 * size:
        height, width = height // 2, width // 2
    scale = size / min(height, width)
    return round(height * scale), round(width * scale)


def _spans(n: int, whole: int, size: int, positions: int) -> list[tuple[int, int]]:
    """Return first and one past last of `n` mask pixels that touch each position of a square out of `whole` pixels."""
    first = (whole - size) // 2
    unit = whole * positions
    edges = [(first * positions + position * size) * n for position in range(positions + 1)]
    return [(start // unit, -(-end // unit)) for start, end in itertools.pairwise(edges)]


def _foreground(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=readable(FORMATS)) as picture:
            values = np.asarray(ImageOps.exif_transpose(picture))
            bands = picture.getbands()
    except UnidentifiedImageError as error:
        raise ValueError(f"mask {path} is not an image of a lossless format ({', '.join(FORMATS)})") from error
    # Decoders raise whatever their parsers do: OSError, SyntaxError, struct.error, zlib.error, …
    except Exception as error:
        raise ValueError(f"mask {path} cannot be read: {one_line(error)}") from error
    if values.ndim == 2:
        return values != 0
    if bands[-1] == "A":
        return (values[..., :-1] != 0).any(-1) & (values[..., -1] != 0)
    return (values != 0).any(-1)
