"""Generated images from disk: an .npz, or a folder of PNG files; lossy files are refused."""

from collections.abc import Iterator
from pathlib import Path

from ..data.decode import BadImageError, image_size
from ..data.images import open_images
from .archives import IMAGES, archived_images, read_headers
from .shares import Numbered, share_of

LOSSLESS = ".png"
OTHERS = {".jpg", ".jpeg", ".webp", ".avif", ".jp2", ".heic", ".gif", ".bmp", ".tif", ".tiff"}


def open_samples(
    path: Path, batch_size: int = 64, *, rank: int = 0, world: int = 1, workers: int = 0
) -> tuple[int, Iterator[Numbered]]:
    """How many images there are, and this process's share of them in batches; those of a folder by sorted name.

    ValueError for anything but uint8 (n, size, size, 3) as `arr_0` or PNG files of one square size.
    """
    if path.suffix == ".npz":
        batches = archived_images(path, batch_size, rank=rank, world=world)
        return read_headers(path)[IMAGES].shape[0], batches
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder of PNG files nor an .npz: give what `specmatch sample` wrote")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if other := next((file for file in files if file.suffix.lower() in OTHERS), None):
        raise ValueError(f"{other} may be lossy, which changes every score: write samples as PNG files or as one .npz")
    if not (pictures := [file for file in files if file.suffix.lower() == LOSSLESS]):
        raise ValueError(f"{path} holds no PNG files")
    size = _size(pictures)
    images = open_images(str(path), size, split="all", min_side=size)
    return len(images), share_of(images, batch_size, rank=rank, world=world, workers=workers)


def _size(pictures: list[Path]) -> int:
    """The side that all have."""
    first: int | None = None
    for picture in pictures:
        try:
            width, height = image_size(picture)
        except BadImageError as error:
            raise ValueError(f"{picture} cannot be read ({error}): write the samples again") from error
        first = first or width
        if not width == height == first:
            raise ValueError(
                f"{picture} has {width} x {height} pixels, expected {first} x {first}: samples are squares of one size"
            )
    assert first is not None
    return first
