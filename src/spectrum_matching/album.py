"""A few of the measured images, and what the decoder made of them, as PNG pictures for the report."""

import base64
import io

from torch import Tensor

from .results import Picture

LARGEST_SIDE = 128
N_PIXELS = 6 * 64 * 64


class Album:
    """The first images: six of up to 64 pixels, fewer of larger ones, of which the central 128 are shown."""

    def __init__(self, size: int) -> None:
        self._side = min(size, LARGEST_SIDE)
        self._n = min(6, max(2, N_PIXELS // self._side**2))
        self._pictures: list[tuple[int, Picture]] = []

    def add(self, first: int, keep: int, images: Tensor, decoded: Tensor) -> None:
        """images, decoded: (b, 3, H, W) in [-1, 1], the batch that starts at image `first`, after the low-pass."""
        for place in range(min(len(images), self._n - first)):
            number = first + place
            for is_decoded, batch in ((False, images), (True, decoded)):
                png = _png(self._centre(batch[place]))
                self._pictures.append((number, Picture(f"image {number + 1}", keep, is_decoded, png)))

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
