"""Decoding of images from files or bytes to tensors, and the crop.

Every image becomes 8-bit RGB: transparency is composited on white, 16-bit grey is scaled by 1/257, EXIF orientation is
applied, CMYK is multiplied out; embedded colour profiles are not applied. The crop is that of Dhariwal & Nichol,
"Diffusion Models Beat GANs on Image Synthesis" (2021), of any shape: halve by 2 × 2 means while both sides are at least
twice those asked for, resize with an antialiased bicubic kernel until one side fits, cut the other.
"""

import io
import struct
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from ..files.regular import require_regular

# Pillow would pass PostScript to an external interpreter; these formats are only parsed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
JPEG_2000 = {".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"}
NETPBM = {".pbm", ".pgm", ".ppm", ".pnm", ".pfm"}
JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
OTHERS = {".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif", ".avifs"}
SUFFIXES = JPEG_2000 | NETPBM | JPEG | OTHERS
"""Suffixes of these formats, in lower case."""

ORIENTATION = 0x0112  # EXIF's tag
PNG_METADATA = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}  # chunks that may hold an orientation


class BadImageError(Exception):
    """An image that cannot be used; the message is the reason."""


class Frame(NamedTuple):
    """Width and height of an image as stored, and its EXIF orientation (1: it is shown as it is stored)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as it is shown."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height from the header alone, as stored (before EXIF orientation).

    Raises:
        BadImageError: when there is no readable header.
    """
    with _open(source) as picture:
        return _stored_size(picture)


def image_frame(source: Path | bytes) -> Frame:
    """Return size and orientation without decoding pixels, except of a PNG with metadata behind them.

    Raises:
        BadImageError: when there is no readable header.
    """
    with _open(source) as picture:
        try:
            # Of a PNG Pillow decodes all pixels to see whether metadata follow them.
            is_read = isinstance(picture, PngImageFile) and not _has_metadata_after_pixels(picture)
            exif = Image.Image.getexif(picture) if is_read else picture.getexif()
            orientation = exif.get(ORIENTATION, 1)
        # EXIF is parsed by Pillow as it comes; decoding ignores what it cannot parse, or fails by itself.
        except Exception:
            orientation = 1
        return Frame(*_stored_size(picture), orientation if orientation in range(1, 9) else 1)


def decode_image(source: Path | bytes) -> Image.Image:
    """Return the first frame as 8-bit RGB.

    A file whose format has no checksum (JPEG, BMP) can be altered without being noticed.

    Raises:
        BadImageError: when the image cannot be decoded, also for truncated data.
    """
    with _open(source) as picture:
        try:
            return _to_rgb(ImageOps.exif_transpose(picture))
        except BadImageError:
            raise
        # Decoders raise whatever their parsers do: OSError, SyntaxError, struct.error, zlib.error, EOFError, …
        except Exception as error:
            raise BadImageError(f"truncated or corrupt ({one_line(error)})") from error


def crop_resize(picture: Image.Image, shape: tuple[int, int], position: float | None = None) -> Image.Image:
    """Resize until the picture just covers `shape` (height, width), and cut what is beyond at `position` ∈ [0, 1).

    None: at the centre.
    """
    wanted = shape[::-1]
    while all(side >= 2 * least for side, least in zip(picture.size, wanted, strict=True)):
        width, height = picture.size
        picture = picture.resize((width // 2, height // 2), Image.Resampling.BOX)
    scale = max(least / side for side, least in zip(picture.size, wanted, strict=True))
    width, height = (round(side * scale) for side in picture.size)
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (
        extra // 2 if position is None else int((extra + 1) * position)
        for extra in (width - wanted[0], height - wanted[1])
    )
    return picture.crop((left, top, left + wanted[0], top + wanted[1]))


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """Convert 8-bit RGB to (3, H, W) float32 in [-1, 1]: 0 → -1, 255 → 1."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32))
    return pixels.permute(2, 0, 1).contiguous() / 127.5 - 1


def _open(source: Path | bytes) -> Image.Image:
    if isinstance(source, Path):
        _require_regular(source)
    try:
        return open_picture(io.BytesIO(source) if isinstance(source, bytes) else source, FORMATS)
    except UnidentifiedImageError as error:
        raise BadImageError("not an image") from error
    except Exception as error:
        reason = getattr(error, "strerror", None)
        raise BadImageError(reason or f"unreadable header ({one_line(error)})") from error


def open_picture(source: Path | IO[bytes], formats: tuple[str, ...]) -> Image.Image:
    """Open an image by Pillow, which raises whatever its parsers do."""
    picture = Image.open(source, formats=readable(formats))
    if isinstance(picture, TiffImageFile):
        # By its path Pillow would map an uncompressed one at the size as it is shown, which garbles what is turned.
        picture.filename = ""
    return picture


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    # Of a TIFF, and of it alone, Pillow gives the size as it is shown.
    if isinstance(picture, TiffImageFile):
        return int(picture.tag_v2[IMAGEWIDTH]), int(picture.tag_v2[IMAGELENGTH])
    return picture.size


def _require_regular(path: Path) -> None:
    try:
        require_regular(path)
    except (OSError, ValueError) as error:
        raise BadImageError(getattr(error, "strerror", None) or one_line(error)) from error


def _has_metadata_after_pixels(picture: PngImageFile) -> bool:
    """Return whether a PNG has chunks of metadata behind its pixels, without reading these."""
    assert picture.fp is not None
    stream, has_begun = picture.fp, False
    position = stream.tell()
    try:
        stream.seek(8)
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if has_begun and kind in PNG_METADATA:
                return True
            has_begun |= kind == b"IDAT"
            stream.seek(length + 4, io.SEEK_CUR)
        return False
    finally:
        stream.seek(position)


@cache
def readable(formats: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of these formats that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise BadImageError("floating-point pixels, whose white is unknown")
    if picture.mode.startswith("I"):
        return _from_16_bits(np.asarray(picture))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _from_16_bits(grey: np.ndarray) -> Image.Image:
    # Pillow's conversion clips at 255 and would turn nearly every such image white.
    if grey.min() < 0 or grey.max() > 65535:
        raise BadImageError(f"integer pixels from {grey.min()} to {grey.max()}, outside 16 bits")
    return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")


def one_line(error: Exception) -> str:
    """Return the message of an error, at most 120 characters of it, or its type without one."""
    return " ".join(str(error).split())[:120] or type(error).__name__
