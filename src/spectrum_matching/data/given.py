"""A folder whose files are given: all of them and nothing else, whatever they and the folders are named."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .folders import ImageFiles
from .images import ImageChoice, ImageSet
from .labels import number_labels
from .sources import describe
from .summary import counted
from .walk import Listing

log = logging.getLogger(__name__)

PNG = b"\x89PNG\r\n\x1a\n"


class GivenFiles(ImageFiles):
    """Every regular, visible file below a folder; for its members see `sources.Source`.

    It is what a file holds that tells whether it is an image: one that is none is bad, and named when it is read. The
    folders at the top are classes where all files lie in one.
    """

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing.root, listing.names)
        self.labels: Sequence[int] = [-1] * len(self.names)
        self.classes: tuple[str, ...] = ()
        if all("/" in name for name in self.names):
            with suppress(ValueError):  # names that are not classes
                tops = [name.partition("/")[0] for name in self.names]
                self.classes, self.labels = number_labels(tops, f"{listing.root}: names of folders")
        self.part = ""
        self.bad = listing.unread
        self.left_out = tuple(counted(listing.again, "second name", "second names"))


def given_images(listing: Listing, size: int, min_side: int | None = None) -> ImageSet:
    """Return all files of a listing as squares of `size` pixels, cropped at the centre.

    min_side: an image whose shorter side is under it is bad; by default half of `size`.
    """
    choice, files = ImageChoice(str(listing.root), size, "all"), GivenFiles(listing)
    log.info("%s", describe(choice.source, files))
    min_side = (size + 1) // 2 if min_side is None else min_side
    return ImageSet(choice, size, files, range(len(files.names)), min_side=min_side)


def is_png(path: Path) -> bool:
    """Return whether a file begins as a PNG does; False for one that cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(PNG)) == PNG
    except OSError:
        return False
