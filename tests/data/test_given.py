import os
import shutil

import pytest

from spectrum_matching.data.given import given_images, is_png
from spectrum_matching.data.walk import BadFile, walk


def test_given_images_takes_every_file_whatever_its_name_and_folder(image_folder, tmp_path):
    sources = sorted(image_folder.iterdir())
    for name, source in zip(("train/a.png", "test/noext", "val/b.txt", "c.png"), sources, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    os.mkfifo(tmp_path / "pipe.png")
    images = given_images(walk(tmp_path), 32)
    assert images.names == ("c.png", "notes.txt", "test/noext", "train/a.png", "val/b.txt")
    assert images.classes == ()
    assert images.bad == (BadFile("pipe.png", "not a regular file, but a named pipe"),)
    rows = [images[index] for index in range(len(images))]
    assert [row.bad for row in rows] == [(), (BadFile("notes.txt", "not an image"),), (), (), ()]


def test_given_images_refuses_small_ones_by_the_shorter_side(image_folder, tmp_path):
    shutil.copy(sorted(image_folder.iterdir())[0], tmp_path / "a.png")  # 48 x 40
    shutil.copy(sorted(image_folder.iterdir())[1], tmp_path / "b.png")
    assert given_images(walk(tmp_path), 80)[0].bad == ()
    assert given_images(walk(tmp_path), 32, min_side=40)[0].bad == ()
    with pytest.raises(ValueError, match="48 x 40 pixels, smaller than 41"):
        given_images(walk(tmp_path), 82)[0]


def test_is_png_looks_at_the_content(image_folder, tmp_path):
    shutil.copy(sorted(image_folder.iterdir())[0], tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(b"\xff\xd8\xff")
    assert is_png(tmp_path / "a.jpg")
    assert not is_png(tmp_path / "b.png")
    assert not is_png(tmp_path / "none.png")


def test_given_images_have_at_least_one_pixel(image_folder):
    assert given_images(walk(image_folder), 1)[0].image.shape == (3, 1, 1)
    with pytest.raises(ValueError, match="size is 0, expected at least one pixel"):
        given_images(walk(image_folder), 0)
