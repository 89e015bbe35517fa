"""Images without a download: crops of scikit-image's natural photographs and of dead-leaves pictures.

Training and held-out images come from different photographs (the two views of the motorcycle are one scene) and from
dead leaves of different seeds and palettes. Every fourth image is of dead leaves.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..files.digests import LENGTH
from ..seeding import seeded
from .decode import Frame
from .fingerprint import Content
from .walk import BadFile

N_IMAGES = {"train": 4096, "held_out": 256}
COLOUR = {"train": ("astronaut", "rocket", "motorcycle_left", "motorcycle_right"), "held_out": ("chelsea", "coffee")}
GREY = {"train": ("brick", "coins", "grass"), "held_out": ("camera", "gravel")}
N_LEAVES = {"train": 8, "held_out": 3}
LEAVES_SIDE = 384
LARGEST = 256
COVER = 5.0
GRAIN = 2


class Pictures(NamedTuple):
    """Pictures of one split, each as a pyramid of levels, halved again and again."""

    colour: tuple[tuple[Image.Image, ...], ...]
    grey: tuple[tuple[Image.Image, ...], ...]
    leaves: tuple[tuple[Image.Image, ...], ...]


class EmbeddedSource:
    """The training images, then the held-out ones, as squares of `size` ≤ 256 pixels; see `sources.Source`.

    An image is a crop at a random position, its side log-uniform between `size` and the whole shorter side, resized to
    `size` with antialiasing and mirrored with probability one half. Of the photographs, one third is grey.
    """

    groups: Sequence[int] | None = None

    def __init__(self, size: int) -> None:
        if size > LARGEST:
            raise ValueError(f"the embedded photographs give images up to {LARGEST} pixels, not {size}")
        self._size = size
        self.classes: tuple[str, ...] = ()
        self.root = "embedded"
        self.names: Sequence[str] = [f"{split}/{i:04d}" for split, n in N_IMAGES.items() for i in range(n)]
        self.labels: Sequence[int] = [-1] * len(self.names)
        self.part = ""
        self.bad: tuple[BadFile, ...] = ()
        self.left_out: tuple[str, ...] = ()

    def frame(self, item: int) -> Frame:
        """Return width and height."""
        return Frame(self._size, self._size)

    def read(self, item: int) -> Image.Image:
        """Return the image, whichever were read before."""
        split, _, number = self.names[item].partition("/")
        kind, which, scale, left, top, mirror = torch.rand(6, generator=seeded("embedded", split, number)).tolist()
        pictures = embedded_pictures(split)
        photographs = pictures.grey if kind < 1 / 3 else pictures.colour
        group = pictures.leaves if int(number) % 4 == 3 else photographs
        square = _cut(group[int(which * len(group))], self._size, scale, left, top)
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror < 0.5 else square

    def content(self, item: int) -> Content:
        """Return the digest of the photographs that the image is cut from, and its byte count."""
        return Content(3 * self._size**2, _photographs_digest(self.names[item].partition("/")[0]))


@cache
def embedded_pictures(split: str) -> Pictures:
    """Return the pictures that the images of `split` ("train", "held_out") are cut from."""
    photographs = {name: _photograph(name) for name in COLOUR[split] + GREY[split]}
    palette = torch.from_numpy(np.concatenate([photographs[name].reshape(-1, 3) for name in COLOUR[split]])).float()
    leaves = [
        dead_leaves(LEAVES_SIDE, palette, seeded("leaves", split, number)).round().byte().permute(1, 2, 0).numpy()
        for number in range(N_LEAVES[split])
    ]
    return Pictures(
        tuple(_pyramid(photographs[name]) for name in COLOUR[split]),
        tuple(_pyramid(photographs[name]) for name in GREY[split]),
        tuple(_pyramid(picture) for picture in leaves),
    )


@cache
def _photographs_digest(split: str) -> bytes:
    # Dead leaves follow from these and from the code, and take seconds.
    return hashlib.sha256(b"".join(_photograph(name).tobytes() for name in COLOUR[split] + GREY[split])).digest()[
        : LENGTH // 2
    ]


def _photograph(name: str) -> np.ndarray:
    from skimage import data

    views = {"motorcycle_left": 0, "motorcycle_right": 1}
    pixels = data.stereo_motorcycle()[views[name]] if name in views else getattr(data, name)()
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _pyramid(pixels: np.ndarray) -> tuple[Image.Image, ...]:
    levels = [Image.fromarray(pixels)]
    while min(levels[-1].size) >= 16:
        levels.append(levels[-1].reduce(2))
    return tuple(levels)


def _cut(pyramid: tuple[Image.Image, ...], size: int, scale: float, left: float, top: float) -> Image.Image:
    width, height = pyramid[0].size
    side = size * (min(width, height) / size) ** scale
    # The coarsest level at least twice as fine as the result keeps the kernel small.
    level = min(max(0, math.floor(math.log2(side / size)) - 1), len(pyramid) - 1)
    x, y = left * (width - side), top * (height - side)
    box = tuple(edge / 2**level for edge in (x, y, x + side, y + side))
    return pyramid[level].resize((size, size), Image.Resampling.BICUBIC, box=box)


def dead_leaves(side: int, palette: Tensor, generator: torch.Generator) -> Tensor:
    """Return a picture (3, side, side), periodic in both directions, of discs coloured from `palette` (n, 3).

    The discs occlude one another and have radii of density r⁻³, so that no scale stands out: power falls near 1/f², as
    that of photographs does. Lee, Mumford & Huang, "Occlusion Models for Natural Images" (2001).

    Radii range from one pixel to a quarter of the side, which is at least 8. The discs have 5 times the area of the
    picture: e⁻⁵ of it stays bare and takes the colour of one more leaf. A pixel is the mean of 2 × 2 samples.
    """
    n = side * GRAIN
    low, high = float(GRAIN), n / 4
    mean_area = 2 * math.pi * math.log(high / low) / (low**-2 - high**-2)
    n_discs = math.ceil(COVER * n * n / mean_area)
    radii = torch.rand(n_discs, generator=generator).mul(high**-2 - low**-2).add(low**-2).rsqrt()
    centres = torch.rand(n_discs, 2, generator=generator) * n
    owner = torch.full((n * n,), n_discs)
    for octave in range(math.ceil(math.log2(high / low))):
        within = (radii >= low * 2**octave) & (radii < low * 2 ** (octave + 1))
        reach = math.ceil(low * 2 ** (octave + 1))
        for discs in within.nonzero()[:, 0].split(max(1, 2**21 // (2 * reach + 1) ** 2)):
            _drop(owner, n, discs, centres[discs], radii[discs], reach)
    colours = palette[torch.randint(len(palette), (n_discs + 1,), generator=generator)]
    return avg_pool2d(colours[owner].T.reshape(3, n, n), GRAIN)


def _drop(owner: Tensor, n: int, discs: Tensor, centres: Tensor, radii: Tensor, reach: int) -> None:
    """Write into `owner` (n × n, flat) the lowest-numbered disc over each sample: the leaf on top."""
    corner = centres.floor()
    steps = torch.arange(-reach, reach + 1)
    near = steps - (centres - corner)[..., None]
    inside = near[:, 0, :, None] ** 2 + near[:, 1, None, :] ** 2 <= radii[:, None, None] ** 2
    disc, row, column = inside.nonzero(as_tuple=True)
    rows, columns = ((corner.long()[..., None] + steps) % n).unbind(1)
    owner.scatter_reduce_(0, rows[disc, row] * n + columns[disc, column], discs[disc], "amin")
