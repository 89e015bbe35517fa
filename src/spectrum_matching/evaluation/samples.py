"""Generated images on disk: an .npz, or a folder of PNG files; lossy files are refused."""

from pathlib import Path

from ..data.arrays import ArchivedImages, Images
from ..data.decode import BadImageError, image_size
from ..data.images import open_images

LOSSLESS = ".png"
OTHERS = {".jpg", ".jpeg", ".webp", ".avif", ".jp2", ".heic", ".gif", ".bmp", ".tif", ".tiff"}


def open_samples(path: Path) -> Images:
    """Open generated images: uint8 (n, size, size, 3) as `arr_0` of an .npz, or PNG files of one size by sorted name.

    Raises:
        ValueError: in one line, for anything else.
    """
    if path.suffix == ".npz":
        return ArchivedImages(path)
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder of PNG files nor an .npz: give what `specmatch sample` wrote")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if other := next((file for file in files if file.suffix.lower() in OTHERS), None):
        raise ValueError(f"{other} may be lossy, which changes every score: write samples as PNG files or as one .npz")
    if not (pictures := [file for file in files if file.suffix.lower() == LOSSLESS]):
        raise ValueError(f"{path} holds no PNG files")
    size = _size(pictures)
    return open_images(str(path), size, split="all", min_side=size)


def _size(pictures: list[Path]) -> int:
    """Return the side that all pictures have."""
    side = 0
    for picture in pictures:
        try:
            width, height = image_size(picture)
        except BadImageError as error:
            raise ValueError(f"{picture} cannot be read ({error}): write the samples again") from error
        side = side or width
        if not width == height == side:
            expected = f"{side} x {side}: samples are squares of one size"
            raise ValueError(f"{picture} has {width} x {height} pixels, expected {expected}")
    return side
