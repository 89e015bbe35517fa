"""Foreground masks of images, cropped as the images are and reduced to the latent grid.

A position is foreground where any mask pixel that touches it is, so that thin objects survive (iREPA pools a 256 × 256
mask by 16 × 16 maxima, which is the same when the mask is as large as the image).
"""

import itertools
import logging
import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..files.regular import require_regular
from .arrays import Images
from .decode import ORIENTATION, BadImageError, Frame, one_line, open_picture
from .summary import counted
from .walk import walk

FORMATS = ("PNG", "BMP", "TIFF", "GIF", "PPM")  # lossless ones, which keep zero zero
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each EXIF orientation upright."""

log = logging.getLogger(__name__)


class MaskSet:
    """Masks of images; `missing` names the images without one."""

    def __init__(self, root: Path, files: Sequence[str | None], images: Images) -> None:
        self.missing = tuple(images.names[index] for index, file in enumerate(files) if file is None)
        self._root, self._files, self._images = root, files, images

    def read(self, indices: Sequence[int], grid: tuple[int, int]) -> Tensor:
        """Return masks (b, h, w), bool, of images on the grid (h, w); all background for an image without one.

        A mask as large as its image is stored, without an EXIF orientation of its own, is turned as the image is.

        Raises:
            ValueError: when a mask cannot be read, or is not of its image's shape.
        """
        return torch.stack([self._read(index, grid) for index in indices])

    def _read(self, index: int, grid: tuple[int, int]) -> Tensor:
        file, name = self._files[index], self._images.names[index]
        if file is None:
            return torch.zeros(grid, dtype=torch.bool)
        try:
            frame = self._images.frame(index)
        except BadImageError as error:
            raise ValueError(f"{name}, the image of mask {self._root / file}, cannot be read: {error}") from error
        mask = _foreground(self._root / file, frame)
        (height, width), (shown_height, shown_width) = mask.shape, frame.shown[::-1]
        # Each side of a scaled mask is off by less than a pixel.
        if abs(width * shown_height - height * shown_width) >= shown_width + shown_height:
            raise ValueError(
                f"mask {self._root / file} has {width} x {height} pixels and its image {name} is shown as"
                f" {shown_width} x {shown_height}: give a mask of the whole image, at any scale"
            )
        return reduce_mask(mask, self._images.size, grid)


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
    listing = walk(root)
    names = [*listing.names, *listing.again]  # one mask may serve several images
    for phrase in counted([str(file) for file in listing.unread], "file", "files"):
        log.warning("%s: %s cannot be read", root, phrase)
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


def _foreground(path: Path, frame: Frame) -> np.ndarray:
    """Return the foreground (H, W) of a mask, upright."""
    try:
        require_regular(path)
        with open_picture(path, FORMATS) as picture:
            own = picture.getexif().get(ORIENTATION)
            is_stored = own is None and picture.size == (frame.width, frame.height)
            picture.load()  # turns a TIFF, and takes its orientation away
            turn = TURNS.get(frame.orientation if is_stored else picture.getexif().get(ORIENTATION, 1))
            bands = picture.getbands()
            values = np.asarray(picture if turn is None else picture.transpose(turn))
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
