"""Buckets by aspect ratio: each image is cut to the shape that is nearest to its own, and a batch holds one shape."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ..files.documents import Document
from ..files.kept import kept
from ..files.threads import in_threads
from .decode import BadImageError
from .stores import is_url

if TYPE_CHECKING:
    from .images import ImageSet

Shape = tuple[int, int]
"""Height and width in pixels."""

log = logging.getLogger(__name__)

N_STEPS = 32  # bounds the candidates, whose number would otherwise grow with the square of the size


@dataclass(frozen=True)
class Buckets:
    """Shapes, and the number of the shape to which each image of a set is cut."""

    shapes: tuple[Shape, ...]
    members: Sequence[int]


@dataclass(frozen=True)
class Sides:
    """Widths and heights of images as they are shown; 0 of one that has no readable header."""

    widths: tuple[int, ...]
    heights: tuple[int, ...]


SIDES = Document(Sides, "specmatch-sides-2", "sides", "delete it", sealed=True)


def bucket_shapes(
    ratios: Sequence[float], size: int, multiple: int, is_legal: Callable[[Shape], bool]
) -> tuple[Shape, ...]:
    """Return the shapes for ratios of the longer side to the shorter one, lying and standing; 1 is a square.

    Of the shapes with sides in multiples of `multiple` that are legal, the nearest in aspect ratio and in number of
    pixels, which is size²; the ratio counts more. Sides lie within N_STEPS multiples of those wanted.

    Raises:
        ValueError: where none is legal.
    """
    found: dict[Shape, None] = {}
    for ratio in (ratio for given in ratios for ratio in (given, 1 / given)):

        def distance(shape: Shape, ratio: float = ratio) -> float:
            height, width = shape
            return (2 * math.log(width / height / ratio)) ** 2 + math.log(height * width / size**2) ** 2

        heights, widths = (_sides(size * factor, multiple) for factor in (ratio**-0.5, ratio**0.5))
        shape = next(filter(is_legal, sorted(product(heights, widths), key=distance)), None)
        if shape is None:
            raise ValueError(f"no shape of about {size} x {size} pixels and aspect ratio {ratio:g} is legal")
        found[shape] = None
    return tuple(found)


def _sides(wanted: float, multiple: int) -> list[int]:
    nearest = round(wanted / multiple)
    return [multiple * n for n in range(max(1, nearest - N_STEPS), nearest + N_STEPS + 1)]


def fill_buckets(images: "ImageSet", shapes: Sequence[Shape], batch_size: int) -> Buckets:
    """Give each image to the shape whose aspect ratio is nearest to its own.

    A shape with fewer images than a batch is given up, and its images go to the nearest of the others: its batches
    would hold an image several times. An image without a readable header counts as a square.

    Raises:
        ValueError: for several shapes of images in a store, where each size would cost a request.
    """
    if len(shapes) == 1:
        return Buckets(tuple(shapes), (0,) * len(images))
    if is_url(images.source):
        raise ValueError(
            f"data.aspect_ratios needs the size of every image, and each costs a request to {images.source}: copy the "
            "images to a disk, or leave it at 1"
        )
    sides = read_sides(images)
    known = np.array(sides.widths) > 0
    ratios = np.log(np.where(known, sides.widths, 1) / np.where(known, sides.heights, 1))
    left = list(shapes)
    while True:
        members = np.abs(ratios[:, None] - [math.log(width / height) for height, width in left]).argmin(1)
        counts = np.bincount(members, minlength=len(left)).tolist()
        if len(left) == 1 or min(counts) >= batch_size:
            break
        del left[counts.index(min(counts))]
    log.info("%s", "; ".join(f"{n:,} images of {w} x {h}" for n, (h, w) in zip(counts, left, strict=True)))
    return Buckets(tuple(left), tuple(members.tolist()))


def read_sides(images: "ImageSet") -> Sides:
    """Read widths and heights from the images' headers, or from what is kept of them."""

    def side(index: int) -> Shape:
        try:
            return images.frame(index).shown
        except BadImageError:
            return (0, 0)

    def read() -> Sides:
        log.info("reading the sizes of %s images of %s, once", f"{len(images):,}", images.source)
        widths, heights = zip(*in_threads(side, len(images)), strict=True)
        return Sides(widths, heights)

    return kept(SIDES, "sizes", images.digest, read)
