import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from spectrum_matching.data.decode import (
    ORIENTATION,
    BadImageError,
    Frame,
    crop_resize,
    decode_image,
    image_frame,
    image_size,
    to_tensor,
)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def only_pixel(source: bytes) -> tuple[int, ...]:
    picture = decode_image(source)
    assert picture.mode == "RGB"
    colours = picture.getcolors()
    assert colours is not None
    assert len(colours) == 1
    return colours[0][1]


def test_decode_image_keeps_rgb() -> None:
    picture = noise(7, 5)
    assert np.array_equal(decode_image(encoded(picture)), picture)


def test_decode_image_multiplies_cmyk_out() -> None:
    picture = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    source = encoded(picture, "JPEG", quality=100)
    with Image.open(io.BytesIO(source)) as stored:
        assert stored.mode == "CMYK"
    assert np.abs(np.array(only_pixel(source)) - (0, 255, 255)).max() <= 2


def test_decode_image_transparent_palette_is_white() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    picture.putdata([0, 1, 2])
    source = encoded(picture, transparency=1)
    assert np.array_equal(decode_image(source), [[[255, 0, 0], [255, 255, 255], [0, 255, 0]]])


def test_decode_image_scales_16_bit_grey() -> None:
    levels = np.array([[0, 257, 100 * 257, 65535]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode_image(encoded(Image.fromarray(levels), kind)))
        assert np.array_equal(decoded, np.repeat([[[0], [1], [100], [255]]], 3, axis=2))


def test_decode_image_scales_16_bit_pgm() -> None:
    decoded = np.asarray(decode_image(b"P5 2 1 65535\n" + bytes([0x80, 0x80, 0xFF, 0xFF])))
    assert np.array_equal(decoded[0, :, 0], [128, 255])


@pytest.mark.parametrize(
    ("picture", "pixel"),
    [
        (Image.new("L", (4, 4), 77), (77, 77, 77)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (4, 4), (0, 51)), (204, 204, 204)),
    ],
    ids=["grey", "bilevel", "transparent", "translucent", "translucent grey"],
)
def test_decode_image_converts_modes_to_rgb(picture: Image.Image, pixel: tuple[int, ...]) -> None:
    assert only_pixel(encoded(picture)) == pixel


def test_decode_image_applies_exif_orientation() -> None:
    picture = Image.new("RGB", (32, 16), "red")
    picture.paste("blue", (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(encoded(picture, "JPEG", quality=100, exif=exif))
    assert decoded.size == (16, 32)
    assert decoded.getpixel((8, 2))[0] > 240
    assert decoded.getpixel((8, 29))[2] > 240


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_decode_image_refuses_truncated_file(kind: str) -> None:
    source = encoded(noise(64, 64), kind)
    with pytest.raises(BadImageError):
        decode_image(source[: len(source) // 2])


def test_decode_image_refuses_altered_png() -> None:
    source = bytearray(encoded(noise(64, 64)))
    source[len(source) // 2] ^= 0x55
    with pytest.raises(BadImageError, match="corrupt"):
        decode_image(bytes(source))


def test_decode_image_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("plain text")
    with pytest.raises(BadImageError, match="not an image"):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match="No such file"):
        decode_image(tmp_path / "b.jpg")
    with pytest.raises(BadImageError, match="floating-point"):
        decode_image(encoded(Image.new("F", (4, 4), 0.5), "TIFF"))
    with pytest.raises(BadImageError, match="not an image"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_crop_resize_halves_by_2x2_means() -> None:
    # Multiples of 16 stay whole numbers through two halvings, so nothing is rounded.
    picture = Image.fromarray(np.asarray(noise(32, 32)) // 16 * 16)
    means = np.asarray(picture, dtype=float).reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.array_equal(crop_resize(picture, (16, 16)), means)
    assert np.array_equal(crop_resize(picture, (8, 8)), means.reshape(8, 2, 8, 2, 3).mean((1, 3)))


def test_crop_resize_cuts_square_at_position() -> None:
    ramp = Image.fromarray(np.tile(np.arange(13, dtype=np.uint8)[None, :, None], (4, 1, 3)))
    for position, first in ((None, 4), (0.0, 0), (0.5, 5), (0.999, 9)):
        cut = np.asarray(crop_resize(ramp, (4, 4), position))
        assert np.array_equal(cut[:, :, 0], np.tile(np.arange(first, first + 4), (4, 1)))
    tall = np.asarray(crop_resize(ramp.transpose(Image.Transpose.TRANSPOSE), (4, 4)))
    assert np.array_equal(tall[:, :, 0], np.tile(np.arange(4, 8)[:, None], (1, 4)))


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (40, 24), (16, 256)])
@pytest.mark.parametrize(("width", "height"), [(301, 47), (32, 31), (63, 64), (17, 200), (33, 1000)])
def test_crop_resize_takes_any_picture_and_keeps_flat(width: int, height: int, shape: tuple[int, int]) -> None:
    cut = crop_resize(Image.new("RGB", (width, height), (9, 99, 199)), shape)
    assert cut.size == shape[::-1]
    assert cut.getcolors() == [(shape[0] * shape[1], (9, 99, 199))]


def test_crop_resize_of_a_picture_of_the_shape_keeps_all_of_it() -> None:
    picture = Image.fromarray(np.asarray(noise(96, 64)) // 16 * 16)
    assert np.array_equal(crop_resize(picture, (64, 96), 0.7), picture)
    means = np.asarray(picture, dtype=float).reshape(32, 2, 48, 2, 3).mean((1, 3))
    assert np.array_equal(crop_resize(picture, (32, 48), 0.7), means)


def test_image_frame_decodes_a_png_only_for_metadata_after_its_pixels(monkeypatch) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    plain, turned = encoded(noise(30, 20)), encoded(noise(30, 20), exif=exif)
    start = turned.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(turned[start : start + 4], "big")
    chunk, tail = turned[start:end], turned.index(b"IEND") - 4
    late = turned[:start] + turned[end:tail] + chunk + turned[tail:]
    assert image_frame(late) == Frame(30, 20, 6)
    decoded: list[object] = []
    monkeypatch.setattr(PngImageFile, "load", decoded.append)
    assert image_frame(plain) == Frame(30, 20)
    assert image_frame(turned) == Frame(30, 20, 6)
    assert not decoded


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP"])
def test_image_frame_is_the_same_in_every_format(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    source = encoded(noise(30, 20), kind, exif=exif)
    assert image_frame(source) == Frame(30, 20, orientation)
    assert image_size(source) == (30, 20)
    assert image_frame(source).shown == decode_image(source).size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_image_turns_an_uncompressed_file_as_it_turns_bytes(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    png, tiff = (encoded(noise(30, 20).convert("L"), kind, exif=exif) for kind in ("PNG", "TIFF"))
    (tmp_path / "a.tif").write_bytes(tiff)
    assert np.array_equal(decode_image(tmp_path / "a.tif"), decode_image(png))
    assert np.array_equal(decode_image(tiff), decode_image(png))


def test_to_tensor_range_is_minus_one_to_one() -> None:
    picture = Image.fromarray(np.array([[[0, 51, 255]], [[255, 0, 102]]], dtype=np.uint8))
    tensor = to_tensor(picture)
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor, torch.tensor([[[-1.0], [1]], [[-0.6], [-1]], [[1], [-0.2]]]))
