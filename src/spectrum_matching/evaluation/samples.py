"""Generated images on disk: an .npz, or a folder of PNG files; anything else is refused."""

from pathlib import Path

from ..data.arrays import ArchivedImages, Images
from ..data.decode import BadImageError, image_size
from ..data.given import given_images, is_png
from ..data.walk import Listing, walk
from ..files.manifest import MANIFEST
from ..files.threads import in_threads
from ..records.scores import SAMPLES_RECORD

EXPECTED = f"a folder of samples holds PNG files, and {SAMPLES_RECORD}"


def open_samples(path: Path) -> Images:
    """Open generated images: uint8 (n, size, size, 3) as `arr_0` of an .npz, or PNG files of one size by sorted name.

    Every visible file at any depth is an image, and a PNG by its content, whatever its name; only the record and
    the manifest of `specmatch sample` may lie beside them.

    Raises:
        ValueError: in one line, for anything else.
    """
    if path.suffix == ".npz":
        return ArchivedImages(path)
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder of PNG files nor an .npz: give what `specmatch sample` wrote")
    listing = _without_record(walk(path))
    if listing.unread:
        raise ValueError(f"{path / listing.unread[0].name}: {listing.unread[0].reason}; {EXPECTED}")
    if listing.again:
        raise ValueError(f"{path / listing.again[0]} is a second name of another of these files: count each image once")
    if not listing.names:
        raise ValueError(f"{path} holds no PNG files")
    return given_images(listing, size := _size(listing), min_side=size)


def _without_record(listing: Listing) -> Listing:
    pairs = zip(listing.names, listing.n_bytes, strict=True)
    kept = [(name, n) for name, n in pairs if name not in (SAMPLES_RECORD, MANIFEST)]
    return listing._replace(names=tuple(name for name, _ in kept), n_bytes=tuple(n for _, n in kept))


def _size(listing: Listing) -> int:
    """Return the side that all pictures have."""
    files = listing.files

    def sides(item: int) -> tuple[int, int] | str:
        picture = files[item]
        try:
            return image_size(picture) if is_png(picture) else "it is not a PNG by its content"
        except BadImageError as error:
            return f"it cannot be read ({error}): write the samples again"

    side = 0
    for picture, found in zip(files, in_threads(sides, len(files)), strict=True):
        if isinstance(found, str):
            raise ValueError(f"{picture}: {found}; {EXPECTED}")
        side = side or found[0]
        if found != (side, side):
            expected = f"{side} x {side}: samples are squares of one size"
            raise ValueError(f"{picture} has {found[0]} x {found[1]} pixels, expected {expected}")
    return side
