import logging
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from spectrum_matching.data.buckets import bucket_shapes, fill_buckets, read_sides
from spectrum_matching.data.decode import ORIENTATION
from spectrum_matching.data.images import ImageSet, open_images
from spectrum_matching.files.kept import kept_folder

SHAPES = ((32, 32), (24, 40), (40, 24))


@pytest.fixture
def mixed(tmp_path: Path) -> ImageSet:
    """Six lying images, four nearly square ones and two standing ones, one of these by its EXIF orientation."""
    sizes = [(60, 40)] * 6 + [(40, 44)] * 4 + [(40, 60)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number:02d}.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (60, 40)).save(tmp_path / f"{len(sizes):02d}.jpg", exif=exif)
    return open_images(str(tmp_path), 32, split="all")


@settings(deadline=None, max_examples=50)
@given(ratio=st.floats(1, 3), size=st.integers(8, 24).map(lambda n: 16 * n), multiple=st.sampled_from([4, 8, 16]))
def test_bucket_shapes_have_about_the_ratio_and_the_pixels(ratio: float, size: int, multiple: int) -> None:
    lying, *standing = bucket_shapes([ratio], size, multiple, lambda shape: True)
    assert standing in ([], [lying[::-1]])  # none where the nearest is the square
    assert not any(side % multiple for side in lying)
    assert lying[1] / lying[0] == pytest.approx(ratio, rel=0.15)
    assert math.prod(lying) == pytest.approx(size**2, rel=0.25)


def test_bucket_shapes_of_ratio_1_are_one_square() -> None:
    for size in (64, 1_000_000):  # of the shapes of the latter, all would not fit into memory
        assert bucket_shapes([1.0], size, 8, lambda shape: True) == ((size, size),)


def test_bucket_shapes_are_the_nearest_that_are_legal() -> None:
    def in_blocks(shape: tuple[int, int]) -> bool:
        return not (shape[0] % 64 or shape[1] % 64)

    assert bucket_shapes([1.0, 1.5], 256, 8, lambda shape: True) == ((256, 256), (208, 312), (312, 208))
    assert bucket_shapes([1.0, 1.5], 256, 8, in_blocks) == ((256, 256), (192, 320), (320, 192))
    with pytest.raises(ValueError, match="and aspect ratio"):
        bucket_shapes([1.5], 64, 8, lambda shape: False)


def test_fill_buckets_gives_images_to_the_nearest_shape_as_they_are_shown(mixed: ImageSet) -> None:
    buckets = fill_buckets(mixed, SHAPES, batch_size=2)
    assert buckets.shapes == SHAPES
    assert list(buckets.members) == [1] * 6 + [0] * 4 + [2] * 2
    cut = mixed.in_buckets(buckets)
    assert [tuple(cut[index].image.shape[1:]) for index in range(12)] == [SHAPES[k] for k in buckets.members]


def test_fill_buckets_gives_up_shapes_with_fewer_images_than_a_batch(mixed: ImageSet) -> None:
    buckets = fill_buckets(mixed, SHAPES, batch_size=3)
    assert buckets.shapes == SHAPES[:2]
    assert list(buckets.members) == [1] * 6 + [0] * 6
    assert fill_buckets(mixed, SHAPES, batch_size=20).members == (0,) * 12


def test_fill_buckets_counts_an_unreadable_image_as_a_square(mixed: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "00.png").write_bytes(b"no image")
    buckets = fill_buckets(mixed, SHAPES, batch_size=2)
    assert buckets.members[0] == 0
    row = mixed.in_buckets(buckets)[0]
    assert (row.image.shape, row.bad[0].name) == ((3, 32, 32), "00.png")  # the one that stands in is lying


def test_fill_buckets_refuses_a_store(tmp_path: Path) -> None:
    class Stored:
        source = "s3://bucket/tars"

    with pytest.raises(ValueError, match="costs a request to s3://bucket/tars: copy the images"):
        fill_buckets(Stored(), SHAPES, batch_size=2)


def test_read_sides_decodes_no_image_and_reads_headers_once(
    mixed: ImageSet, tmp_path: Path, monkeypatch, caplog
) -> None:
    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    caplog.set_level(logging.INFO)
    sides = read_sides(mixed)
    assert (sides.widths[0], sides.heights[0]) == (60, 40)
    assert (sides.widths[11], sides.heights[11]) == (40, 60)
    again = open_images(str(tmp_path), 32, split="all")
    assert read_sides(again) == sides
    Image.new("RGB", (40, 40)).save(tmp_path / "00.png")
    changed = open_images(str(tmp_path), 32, split="all")
    assert read_sides(changed).widths[0] == 40
    assert [message.startswith("reading the sizes of 12 images") for message in caplog.messages].count(True) == 2
    assert not decoded
    assert len(list(kept_folder("sizes").glob("*.json"))) == 2
