"""A few of the measured images, and what the decoder made of them, as PNG pictures for the report."""

import base64
import io

import torch
from torch import Tensor

from ..records.analysis import LatentPicture, Picture

LARGEST_SIDE = 128
N_PIXELS = 6 * 64 * 64
SATURATION = 2.5  # standard deviations of a component at full colour


class Album:
    """The first images: six of up to 64 pixels, fewer of larger ones, of which the central 128 are shown."""

    def __init__(self, size: int, at_most: int = 6) -> None:
        self._size = size
        self._side = min(size, LARGEST_SIDE)
        self.n_images = min(6, at_most, max(2, N_PIXELS // self._side**2))
        self._pictures: list[tuple[int, Picture]] = []
        self._latents: list[LatentPicture] = []

    def add(self, first: int, keep: int, images: Tensor, decoded: Tensor) -> None:
        """images, decoded: (b, 3, H, W) in [-1, 1], the batch that starts at image `first`, after the low-pass."""
        for place in range(min(len(images), self.n_images - first)):
            number = first + place
            for is_decoded, batch in ((False, images), (True, decoded)):
                png = _png(self._centre(batch[place]))
                self._pictures.append((number, Picture(f"image {number + 1}", keep, is_decoded, png)))

    def add_latents(self, latents: Tensor, mean: Tensor, axes: Tensor, scale: Tensor) -> None:
        """The first latents (n, c, h, w) in false colour: components along axes (c, up to 3), of deviation `scale`."""
        h, w = latents.shape[-2:]
        share = self._side / self._size
        rows, columns = (slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in (h, w))
        centred = latents.double() - mean.double()[:, None, None]
        components = torch.einsum("nchw,ck->nkhw", centred, axes.double()) / scale.double()[:, None, None]
        components = torch.nn.functional.pad(components, (0, 0, 0, 0, 0, 3 - components.shape[1]))
        for number, picture in enumerate(components[: self.n_images, :, rows, columns] / SATURATION):
            self._latents.append(LatentPicture(f"image {number + 1}", _png(picture)))

    def latent_pictures(self) -> tuple[LatentPicture, ...]:
        """Image by image."""
        return tuple(self._latents)

    def pictures(self) -> tuple[Picture, ...]:
        """Image by image."""
        return tuple(picture for _, picture in sorted(self._pictures, key=lambda entry: entry[0]))

    def _centre(self, image: Tensor) -> Tensor:
        margin = (image.shape[-1] - self._side) // 2
        return image[:, margin : margin + self._side, margin : margin + self._side]


def _png(image: Tensor) -> str:
    """(3, h, w) in [-1, 1], rounded to 8 bits."""
    from PIL import Image

    pixels = image.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
