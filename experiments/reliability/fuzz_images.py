"""Image files of every format, mutated: a bad image is refused in one line, anything else is an image."""

import io
import struct
import warnings
import zlib
from functools import cache
from random import Random

import numpy as np
from campaign import Outcome
from forked import Hang, alarm
from PIL import Image
from scenes import Scenes

SECONDS = 20
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")


def prepare(scenes: Scenes) -> None:
    """Make the images."""
    originals()


def judge(scenes: Scenes, random: Random) -> Outcome:
    """Mutate an image, decode it as data sets are, and judge."""
    from spectrum_matching.data.decode import BadImageError, crop_resize, decode_image, image_size, to_tensor

    name = random.choice(list(originals()))
    content = mutated(originals()[name], random) if random.random() < 0.98 else originals()[name]
    warnings.simplefilter("ignore")
    try:
        with alarm(SECONDS):
            image_size(content)
            image = to_tensor(crop_resize(decode_image(content), (32, 32), random.random()))
    except BadImageError as error:
        one_line = str(error) and "\n" not in str(error) and len(str(error)) < 300
        return Outcome("refused" if one_line else "unclear message", not one_line, f"{name}: {error}")
    except Hang:
        return Outcome("hang", True, name)
    if image.shape != (3, 32, 32) or not (image.min() >= -1 and image.max() <= 1):
        return Outcome("no image", True, f"{name}: {tuple(image.shape)}, {image.min()} to {image.max()}")
    return Outcome("an image")


@cache
def originals() -> dict[str, bytes]:
    """Return images in formats, modes and sizes of all kinds, and files that only seem to be images."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((48, 40))
    made = {name: encoded(smooth, name) for name in FORMATS}
    made |= {f"PNG {mode}": encoded(smooth.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")}
    made |= {f"TIFF {how}": encoded(smooth, "TIFF", compression=how) for how in ("tiff_lzw", "jpeg")}
    made |= {
        "PNG, 16 bits": encoded(Image.fromarray(rng.integers(0, 65536, (48, 40)).astype(np.uint16)), "PNG"),
        "TIFF, floats": encoded(Image.fromarray(rng.random((48, 40)).astype(np.float32)), "TIFF"),
        "TIFF, 32 bits": encoded(Image.fromarray(rng.integers(-5, 1 << 20, (48, 40)).astype(np.int32)), "TIFF"),
        "JPEG, CMYK": encoded(smooth.convert("CMYK"), "JPEG"),
        "JPEG, progressive": encoded(smooth, "JPEG", progressive=True),
        "WEBP, lossless": encoded(smooth, "WEBP", lossless=True),
        "GIF, animated": encoded(smooth, "GIF", save_all=True, append_images=[smooth.rotate(90)]),
        "one pixel": encoded(smooth.resize((1, 1)), "PNG"),
        "one column": encoded(smooth.resize((1, 300)), "PNG"),
        "one row": encoded(smooth.resize((4000, 1)), "PNG"),
        "a thin one": encoded(smooth.resize((40, 9000)), "PNG"),
        "no pixel": _png(0, 0),
        "a bomb": _png(30_000, 30_000),
        "a larger bomb": _png(2**31 - 1, 2**31 - 1),
        "a bomb of text": _png(48, 40, b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)),
        "a bomb of a profile": _png(48, 40, b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\nshowpage\n%%EOF",
        "PDF": b"%PDF-1.4",
    }
    for orientation in (6, 77):
        exif = Image.Exif()
        exif[0x112] = orientation
        made[f"JPEG, orientation {orientation}"] = encoded(smooth, "JPEG", exif=exif)
    return made


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def mutated(content: bytes, random: Random) -> bytes:
    """Return a content that was cut, overwritten in places, or had bytes put in or taken out."""
    data, kind = bytearray(content), random.random()
    if not data or kind < 0.2:
        return bytes(data[: random.randrange(len(data) + 1)])
    if kind < 0.8:
        for _ in range(random.choice((1, 1, 2, 5, 30))):
            data[random.randrange(min(len(data), random.choice((30, 100, len(data)))))] = random.randrange(256)
        return bytes(data)
    start = random.randrange(len(data))
    data[start : start + random.choice((0, 1, 50))] = random.randbytes(random.choice((0, 1, 40)))
    return bytes(data)


def _png(width: int, height: int, kind: bytes = b"tEXt", extra: bytes = b"a\0b") -> bytes:
    """Return a PNG of one bit a pixel that may announce more than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 2000)) if width < 1e6 else b"", 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(kind, extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
