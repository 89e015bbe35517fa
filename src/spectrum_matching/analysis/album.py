"""A few of the measured images, and what the decoder made of them, as PNG pictures for the report."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..data.pictures import as_png
from ..metrics.decoder.lowpass import legal_block, lowpass_strengths
from ..metrics.decoder.sweep import DecoderTest
from ..records.analysis import LatentPicture, Picture
from ..seeding import spread
from ..spectrum.block_lowpass import block_lowpass

LARGEST_SIDE = 128
N_PIXELS = 6 * 64 * 64
SATURATION = 2.5
"""Standard deviations of a component at full colour."""


class Album:
    """Pictures of some images, spread over those measured: six of up to 64 pixels, fewer of larger ones.

    Of large images the central 128 pixels are shown. indices: of the measured images in their set. rows: which of these
    are shown.
    """

    def __init__(self, size: int, indices: Sequence[int]) -> None:
        self._size = size
        self._side = min(size, LARGEST_SIDE)
        self.rows = shown(size, len(indices))
        self._names = {row: f"image {indices[row] + 1}" for row in self.rows}
        self._pictures: list[tuple[int, Picture]] = []
        self.latent_pictures: tuple[LatentPicture, ...] = ()

    def add(
        self,
        rows: Sequence[int],
        images: Tensor,
        latents: Tensor,
        test: DecoderTest,
        passed: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Add images (b, c, H, W) in [-1, 1] and what their latents decode to, whole and after each low-pass.

        rows: their numbers among those measured; images that are not shown are passed over. passed: called with numbers
        of images decoded, which sum up to `album_work`.
        """
        among = [k for k, row in enumerate(rows) if row in self._names]
        block = legal_block(test.grid)
        for keep in _strengths(test.grid) if among else ():
            decoded = test.decode(block_lowpass(latents[among], keep, block))
            pairs = (False, block_lowpass(images[among], keep, block)), (True, decoded)
            for is_decoded, pictures in pairs:
                for k, picture in zip(among, pictures, strict=True):
                    self._add(rows[k], keep, is_decoded, picture)
            passed(len(among))

    def _add(self, row: int, keep: int, is_decoded: bool, image: Tensor) -> None:
        self._pictures.append((row, Picture(self._names[row], keep, is_decoded, central_png(image))))

    def add_latents(self, latents: Tensor, mean: Tensor, axes: Tensor, scale: Tensor) -> None:
        """Add latents (n, c, h, w) in false colour: components along axes (c, 3) over their deviations `scale` (3,)."""
        h, w = latents.shape[-2:]
        share = self._side / self._size
        rows, columns = (slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in (h, w))
        centred = latents.double() - mean.double()[:, None, None]
        components = torch.einsum("nchw,ck->nkhw", centred, axes.double()) / scale.double()[:, None, None]
        pngs = map(as_png, (components[:, :, rows, columns].float() / SATURATION).split(1))
        self.latent_pictures = tuple(
            LatentPicture(self._names[row], png) for row, png in zip(self.rows, pngs, strict=True)
        )

    def pictures(self) -> tuple[Picture, ...]:
        """Return the pictures by image."""
        return tuple(picture for _, picture in sorted(self._pictures, key=lambda entry: entry[0]))


def shown(size: int, n: int) -> list[int]:
    """Return which of n images of `size` pixels an album shows."""
    return spread(n, min(6, max(2, N_PIXELS // min(size, LARGEST_SIDE) ** 2)))


def album_work(size: int, grid: tuple[int, int], n: int) -> int:
    """Return how often images are decoded for an album of n of them."""
    return len(shown(size, n)) * len(_strengths(grid))


def _strengths(grid: tuple[int, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((2 * legal_block(grid) - 1, *lowpass_strengths(grid))))


def central_png(image: Tensor) -> str:
    """Return the centre of an image (c, H, W) in [-1, 1], of 128 pixels at most, as a PNG in base64.

    Of other channels than RGB's, the first three are shown as such, or the first as grey.
    """
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    side = min(image.shape[-1], LARGEST_SIDE)
    margin = (image.shape[-1] - side) // 2
    return as_png(image[None, :, margin : margin + side, margin : margin + side])
