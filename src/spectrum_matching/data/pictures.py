"""Images as lossless PNG files."""

import base64
import io
import math
from pathlib import Path

import torch
from torch import Tensor

from ..files.atomic import open_atomically


def to_bytes(images: Tensor) -> Tensor:
    """Round images (b, 3, H, W) in [-1, 1] to the nearest of 256 levels: uint8 (b, H, W, 3) on the CPU."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous()


def grid(images: Tensor, n_columns: int | None = None) -> Tensor:
    """Tile images (b, 3, H, W) row by row into one (1, 3, rows · H, columns · W), about square, padded with black."""
    b, c, h, w = images.shape
    columns = n_columns or math.ceil(math.sqrt(b))
    rows = -(-b // columns)
    canvas = images.new_full((rows * columns, c, h, w), -1.0)
    canvas[:b] = images
    return canvas.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(1, c, rows * h, columns * w)


def encode_png(pixels: Tensor, *, optimize: bool = False) -> bytes:
    """Return uint8 pixels (H, W, 3) as the bytes of a PNG; optimize: smaller, but slower to encode."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(stream, format="PNG", optimize=optimize)
    return stream.getvalue()


def write_png(path: Path, pixels: Tensor) -> None:
    """Write uint8 pixels (H, W, 3) to a file, atomically."""
    with open_atomically(path) as stream:
        stream.write(encode_png(pixels))


def check_png(path: Path) -> None:
    """Check that a PNG is whole, by the checksums within it.

    Raises:
        ValueError: naming it, where it is anything else.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:  # its reader's own
        raise ValueError(f"{path} is not a complete PNG: {error}") from error


def write_grid(path: Path, images: Tensor) -> None:
    """Write images (b, 3, H, W) in [-1, 1] as one grid, atomically."""
    write_png(path, to_bytes(grid(images))[0])


def as_png(images: Tensor) -> str:
    """Return images (b, 3, H, W) in [-1, 1] as one grid, a PNG in base64."""
    return base64.b64encode(encode_png(to_bytes(grid(images))[0], optimize=True)).decode()
