"""A few of the measured images, and what the decoder made of them, as PNG pictures for the report."""

import torch
from torch import Tensor

from ..data.pictures import as_png
from ..metrics.decoder.lowpass import legal_block, lowpass_strengths
from ..metrics.decoder.sweep import DecoderTest
from ..records.analysis import LatentPicture, Picture
from ..spectrum.block_lowpass import block_lowpass

LARGEST_SIDE = 128
N_PIXELS = 6 * 64 * 64
SATURATION = 2.5
"""Standard deviations of a component at full colour."""


class Album:
    """The first `n_images` images: six of up to 64 pixels, fewer of larger ones, of which the central 128 are shown."""

    def __init__(self, size: int, at_most: int = 6) -> None:
        self._size = size
        self._side = min(size, LARGEST_SIDE)
        self.n_images = min(6, at_most, max(2, N_PIXELS // self._side**2))
        self._pictures: list[tuple[int, Picture]] = []
        self.latent_pictures: tuple[LatentPicture, ...] = ()

    def add(self, first: int, keep: int, images: Tensor, decoded: Tensor) -> None:
        """Add images and decoded images (b, 3, H, W) in [-1, 1] after a low-pass; `first`: index of the first image."""
        for k in range(min(len(images), self.n_images - first)):
            number = first + k
            for is_decoded, batch in ((False, images), (True, decoded)):
                margin = (batch.shape[-1] - self._side) // 2
                png = as_png(batch[k : k + 1, :, margin : margin + self._side, margin : margin + self._side])
                self._pictures.append((number, Picture(f"image {number + 1}", keep, is_decoded, png)))

    def add_lowpassed(self, first: int, images: Tensor, latents: Tensor, test: DecoderTest) -> None:
        """Add images, and what their latents decode to, after each low-pass that removes anything."""
        n, block = self.n_images - first, legal_block(test.grid)
        for keep in lowpass_strengths(test.grid) if n > 0 else ():
            if keep < 2 * block - 1:
                decoded = test.decode(block_lowpass(latents[:n], keep, block))
                self.add(first, keep, block_lowpass(images[:n], keep, block), decoded)

    def add_latents(self, latents: Tensor, mean: Tensor, axes: Tensor, scale: Tensor) -> None:
        """Add latents (n, c, h, w) in false colour: components along axes (c, 3) over their deviations `scale` (3,)."""
        h, w = latents.shape[-2:]
        share = self._side / self._size
        rows, columns = (slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in (h, w))
        centred = latents.double() - mean.double()[:, None, None]
        components = torch.einsum("nchw,ck->nkhw", centred, axes.double()) / scale.double()[:, None, None]
        pngs = map(as_png, (components[: self.n_images, :, rows, columns].float() / SATURATION).split(1))
        self.latent_pictures = tuple(LatentPicture(f"image {number}", png) for number, png in enumerate(pngs, 1))

    def pictures(self) -> tuple[Picture, ...]:
        """Return the pictures by image."""
        return tuple(picture for _, picture in sorted(self._pictures, key=lambda entry: entry[0]))
