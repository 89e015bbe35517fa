import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spectrum_matching.data.arrays import TensorImages
from spectrum_matching.data.decode import ORIENTATION, crop_resize
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.data.masks import TURNS, MaskSet, open_masks, reduce_mask, resized


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    for i, name in enumerate(("a/1.jpg", "a/2.png", "b & <c>/3.jpeg")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), (i, i, i)).save(path)
    return open_images(str(tmp_path / "images"), 32, split="all")


def write(path: Path, mask: np.ndarray, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).convert(mode).save(path)


def square(height: int = 32, width: int = 48) -> np.ndarray:
    """Foreground in the left half of the centre square."""
    mask = np.zeros((height, width))
    mask[:, 8:24] = 255
    return mask


def test_open_masks_by_stem_and_names_missing(tmp_path: Path, images: ImageSet) -> None:
    write(tmp_path / "masks/a/1.png", square())
    write(tmp_path / "masks/b & <c>/3.bmp", square())
    masks = open_masks(tmp_path / "masks", images)
    assert masks.missing == ("a/2.png",)
    left = torch.tensor([[True, True, False, False]]).expand(4, 4)
    assert masks.read([2, 1, 0], (4, 4)).equal(torch.stack([left, left & False, left]))


def test_mask_set_foreground_is_nonzero_in_every_mode(tmp_path: Path, images: ImageSet) -> None:
    expected = torch.tensor([[True, True, False, False]]).expand(4, 4)
    one = (square() > 0).astype(np.uint8)
    path = tmp_path / "masks/a/1.png"
    write(path, one)
    masks = open_masks(tmp_path / "masks", images)
    assert masks.read([0], (4, 4))[0].equal(expected)
    palette = Image.frombytes("P", (48, 32), one.tobytes())
    palette.putpalette([200, 0, 0, 0, 0, 0])  # index 0 is background whatever its colour
    palette.save(path)
    assert masks.read([0], (4, 4))[0].equal(expected)
    Image.fromarray(np.stack([0 * one, 0 * one, one, 255 * one], -1)).save(path)
    assert masks.read([0], (4, 4))[0].equal(expected)
    Image.fromarray(np.stack([one * 0 + 9] * 3 + [255 * one], -1)).save(path)
    assert masks.read([0], (4, 4))[0].equal(expected)
    Image.fromarray(one.astype(np.uint16) * 256).save(path)
    assert masks.read([0], (4, 4))[0].equal(expected)


@given(st.integers(16, 200), st.integers(16, 200), st.integers(8, 64))
def test_resized_equals_crop_resize(height: int, width: int, size: int) -> None:
    seen: list[tuple[int, int]] = []

    class Watched:
        """A picture that remembers how large it was when the square was cut."""

        def __init__(self, picture: Image.Image) -> None:
            self.picture, self.size = picture, picture.size

        def resize(self, *arguments, **options):
            return Watched(self.picture.resize(*arguments, **options))

        def crop(self, box):
            seen.append(self.size)
            return self.picture.crop(box)

    crop_resize(Watched(Image.new("L", (width, height))), (size, size))
    assert seen == [resized(height, width, size)[::-1]]


def test_reduce_mask_pools_by_maxima() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.01
    pooled = mask.reshape(4, 16, 4, 16).any((1, 3))
    np.testing.assert_array_equal(reduce_mask(mask, 64, (4, 4)).numpy(), pooled)


@given(st.integers(20, 150), st.integers(20, 150), st.integers(0, 10_000))
def test_reduce_mask_keeps_foreground_in_its_positions(h: int, w: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((h, w), bool)
    y, x = rng.integers(h), rng.integers(w)
    mask[y, x] = True
    size, grid = 32, 4
    cells = reduce_mask(mask, size, (grid, grid)).numpy()
    whole_h, whole_w = resized(h, w, size)
    # The pixel's span in cells of the crop.
    top, bottom = ((edge * whole_h / h - (whole_h - size) // 2) * grid / size for edge in (y, y + 1))
    left, right = ((edge * whole_w / w - (whole_w - size) // 2) * grid / size for edge in (x, x + 1))
    eps = 1e-9
    expected = np.array(
        [
            [i + 1 > top + eps and i < bottom - eps and j + 1 > left + eps and j < right - eps for j in range(grid)]
            for i in range(grid)
        ]
    )
    np.testing.assert_array_equal(cells, expected)


def test_reduce_mask_keeps_thin_line() -> None:
    mask = np.zeros((1000, 1500), bool)
    mask[500] = True
    cells = reduce_mask(mask, 256, (16, 16))
    assert cells.any(1).sum() == 1
    assert cells.any(0).all()


def test_open_masks_reports_wrong_masks_in_one_line(tmp_path: Path, images: ImageSet) -> None:
    def complaint(call) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such folder" in complaint(lambda: open_masks(tmp_path / "none", images))
    (tmp_path / "masks/a").mkdir(parents=True)
    assert "a/1.jpg needs a/1.png" in complaint(lambda: open_masks(tmp_path / "masks", images))
    path = tmp_path / "masks/a/1.png"
    path.write_text("<html>")
    masks: MaskSet = open_masks(tmp_path / "masks", images)
    assert "lossless" in complaint(lambda: masks.read([0], (4, 4)))
    write(path, np.random.default_rng(0).integers(0, 255, (32, 48)))
    path.write_bytes(path.read_bytes()[:-400])
    assert "cannot be read" in complaint(lambda: masks.read([0], (4, 4)))
    Image.new("L", (48, 32)).save(tmp_path / "masks/a/1.jpg")
    path.unlink()
    masks = open_masks(tmp_path / "masks", images)
    assert "lossless" in complaint(lambda: masks.read([0], (4, 4)))


def oriented(path: Path, orientation: int, pixels: np.ndarray) -> None:
    """Write a photograph that is stored so that it is shown as `pixels` at this EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The inverse of a turn is the turn of another orientation, or of the same.
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(pixels)
    stored = stored.transpose(TURNS[inverse]) if orientation > 1 else stored
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_mask_set_turns_masks_as_their_photographs(tmp_path: Path, orientation: int) -> None:
    shown = np.zeros((96, 64), np.uint8)
    shown[16:48, :16] = 255  # within the centre square, in its upper left
    oriented(tmp_path / "images/a.png", orientation, shown)
    oriented(tmp_path / "images/b.jpg", orientation, shown)
    images = open_images(str(tmp_path / "images"), 32, split="all")
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:2, 0] = True
    stored = np.asarray(Image.open(tmp_path / "images/a.png"))
    write(tmp_path / "stored/a.png", stored)
    write(tmp_path / "stored/b.png", stored)
    masks = open_masks(tmp_path / "stored", images)
    assert masks.read([0, 1], (4, 4)).equal(expected.expand(2, 4, 4))
    # With an orientation of its own a mask is turned by that.
    oriented(tmp_path / "own/a.png", orientation, shown)
    oriented(tmp_path / "own/b.tif", 1, shown)
    assert open_masks(tmp_path / "own", images).read([0, 1], (4, 4)).equal(expected.expand(2, 4, 4))
    # What is not as large as stored is taken as it is: here upright, or upright and smaller.
    if orientation >= 5:
        write(tmp_path / "upright/a.png", shown)
        write(tmp_path / "upright/b.png", shown[::2, ::2])
        assert open_masks(tmp_path / "upright", images).read([0, 1], (4, 4)).equal(expected.expand(2, 4, 4))


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(96, 64, True), (48, 32, True), (49, 33, True), (7, 5, True), (64, 96, False), (64, 64, False), (100, 64, False)],
)
def test_mask_set_refuses_masks_of_another_shape(tmp_path: Path, height: int, width: int, fits: bool) -> None:
    write(tmp_path / "images/a.png", np.zeros((96, 64)))
    write(tmp_path / "masks/a.png", np.ones((height, width)))
    masks = open_masks(tmp_path / "masks", open_images(str(tmp_path / "images"), 32, split="all"))
    if fits:
        assert masks.read([0], (4, 4)).all()
        return
    with pytest.raises(ValueError, match=rf"a\.png has {width} x {height} pixels .* a\.png is shown as 64 x 96: give"):
        masks.read([0], (4, 4))


def test_open_masks_follows_links_to_one_mask_and_names_what_cannot_be_read(tmp_path: Path, images, caplog) -> None:
    write(tmp_path / "masks/a/1.png", square())
    (tmp_path / "masks/a/2.png").symlink_to("1.png")
    (tmp_path / "masks/a/3.png").symlink_to("gone.png")
    os.mkfifo(tmp_path / "masks/pipe.png")
    with caplog.at_level("WARNING"):
        masks = open_masks(tmp_path / "masks", images)
    left = torch.tensor([[True, True, False, False]]).expand(4, 4)
    assert masks.read([0, 1], (4, 4)).equal(torch.stack([left, left]))
    (message,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "2 files (a/3.png: No such file or directory, 'pipe.png: not a regular file, but a named pipe')" in message


def test_open_masks_of_tensors_are_squares(tmp_path: Path) -> None:
    write(tmp_path / "masks/0.png", np.ones((16, 16)))
    write(tmp_path / "masks/1.png", np.ones((16, 24)))
    masks = open_masks(tmp_path / "masks", TensorImages(torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)))
    assert masks.read([0], (4, 4)).all()
    with pytest.raises(ValueError, match=r"1\.png has 24 x 16 pixels and its image 1 is shown as 8 x 8"):
        masks.read([1], (4, 4))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_mask_with_an_orientation_is_turned_once_in_every_format(
    tmp_path: Path, images: ImageSet, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    corner = np.zeros((32, 48), np.uint8)
    corner[:16, 8:24] = 255
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, TURNS[orientation])
    path = tmp_path / f"masks/a/1.{suffix}"
    path.parent.mkdir(parents=True)
    Image.fromarray(corner).transpose(back).save(path, exif=exif)
    found = open_masks(tmp_path / "masks", images).read([0], (2, 2))[0]
    assert found.tolist() == [[True, False], [False, False]]
