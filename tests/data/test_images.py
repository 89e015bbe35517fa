import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.decode import Frame
from spectrum_matching.data.images import ImageRow, ImageSet, collate, open_images
from spectrum_matching.data.walk import BadFile


def write(path: Path, grey: int = 0, size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


def write_truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-200])


def greys(images: ImageSet) -> list[int]:
    return [round((images[i].image.mean().item() + 1) * 127.5) for i in range(len(images))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for grey in range(40):
        write(tmp_path / f"{grey:02d}.png", grey)
    return tmp_path


@pytest.fixture
def spoiled(folder: Path) -> Path:
    (folder / "text.jpg").write_text("not pixels")
    (folder / "void.png").touch()
    write(folder / "dot.png", size=(1, 1))
    write_truncated(folder / "10a.jpg")
    return folder


def test_open_images_splits_are_disjoint_and_complete(folder: Path) -> None:
    train = open_images(str(folder), 16, held_out=0.3)
    out = open_images(str(folder), 16, held_out=0.3, split="held_out")
    every = open_images(str(folder), 16, split="all")
    assert not set(train.names) & set(out.names)
    assert sorted(train.names + out.names) == sorted(every.names)
    assert 4 <= len(out) <= 20
    assert sorted(greys(train) + greys(out)) == list(range(40))


def test_open_images_split_follows_seed(folder: Path) -> None:
    first, again, other = (
        open_images(str(folder), 16, held_out=0.3, split="held_out", seed=seed).names for seed in (1, 1, 2)
    )
    assert first == again != other


def test_open_images_keeps_side_when_files_are_added(folder: Path) -> None:
    before = open_images(str(folder), 16, held_out=0.3, split="held_out").names
    old = set(open_images(str(folder), 16, split="all").names)
    for grey in range(40, 80):
        write(folder / f"new{grey}.png", grey)
    after = open_images(str(folder), 16, held_out=0.3, split="held_out").names
    assert set(before) == set(after) & old


@pytest.mark.parametrize("fraction", [1e-9, 0.999999])
def test_open_images_each_side_has_an_image(tmp_path: Path, fraction: float) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.png")
    sides = [open_images(str(tmp_path), 16, held_out=fraction, split=split) for split in ("train", "held_out")]
    assert [len(side) for side in sides] == [1, 1]


def test_open_images_edge_cases_of_held_out(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(ValueError, match="give at least two"):
        open_images(str(tmp_path), 16)
    assert len(open_images(str(tmp_path), 16, held_out=0)) == 1
    with pytest.raises(ValueError, match="no held-out images"):
        open_images(str(tmp_path), 16, held_out=0, split="held_out")
    with pytest.raises(ValueError, match=r"held_out is 1"):
        open_images(str(tmp_path), 16, held_out=1)


def test_open_images_names_bad_files_with_reason(spoiled: Path) -> None:
    images = open_images(str(spoiled), 16, split="all")
    assert images.bad == (BadFile("void.png", "empty file"),)
    assert len(images) == 43
    reasons = {"10a.jpg": "truncated", "dot.png": "1 x 1 pixels, smaller than 8", "text.jpg": "not an image"}
    for name, reason in reasons.items():
        place = images.names.index(name)
        row = images[place]
        assert row.bad[0].name == name
        assert row.bad[0].reason.startswith(reason)
        assert torch.equal(row.image, images[(place + len(row.bad)) % 43].image)
    assert all(not images[i].bad for i in range(len(images)) if images.names[i] not in reasons)


def test_open_images_logs_once_what_it_found(spoiled: Path, caplog: pytest.LogCaptureFixture) -> None:
    (spoiled / "notes.txt").write_text("about these images")
    with caplog.at_level("INFO"):
        images = open_images(str(spoiled), 16, held_out=0.3)
        images.part("held_out")
    lines = [f"{spoiled}: 43 images; left aside: 1 other file (notes.txt); 1 unusable file (void.png)"]
    assert caplog.messages == lines


def test_image_set_part_is_the_other_split_of_one_opening(folder: Path) -> None:
    train = open_images(str(folder), 16, held_out=0.3, seed=3, crop="random", flip=True)
    for split in ("held_out", "all"):
        part, expected = train.part(split), open_images(str(folder), 16, held_out=0.3, seed=3, split=split)
        assert (part.names, part.choice) == (expected.names, expected.choice)
        assert torch.equal(part[0, 5].image, expected[0].image)
    other = train.part("held_out", held_out=0.5, seed=1)
    assert other.names == open_images(str(folder), 16, held_out=0.5, seed=1, split="held_out").names


def test_open_images_without_labels_has_none(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write(tmp_path / name / "1.png")
    images = open_images(str(tmp_path), 16, split="all", labels=False)
    assert (images.classes, [images[i].label for i in range(2)]) == ((), [-1, -1])
    assert images.choice.open(16).classes == ("ant", "bee")
    assert images.choice.open(16, labels=False).classes == ()


def test_image_set_frame_is_that_of_the_file(folder: Path) -> None:
    write(folder / "00.png", size=(30, 20))
    assert open_images(str(folder), 16, split="all").frame(0) == Frame(30, 20, 1)


def test_image_set_replaces_bad_last_image_by_first(folder: Path) -> None:
    write_truncated(folder / "99.jpg")
    images = open_images(str(folder), 16, split="all")
    assert torch.equal(images[40].image, images[0].image)


def test_open_images_refuse_names_bad_files(spoiled: Path) -> None:
    with pytest.raises(ValueError, match="4 of 44 images are bad") as caught:
        open_images(str(spoiled), 16, on_bad="refuse")
    assert "10a.jpg: truncated" in str(caught.value)
    assert "dot.png: 1 x 1 pixels" in str(caught.value)
    assert str(caught.value).endswith("and 1 more)")
    for name in ("text.jpg", "void.png", "dot.png", "10a.jpg"):
        (spoiled / name).unlink()
    assert not open_images(str(spoiled), 16, on_bad="refuse").bad


def test_open_images_refuse_opens_no_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(ValueError, match=r"1 of 41 images are bad \(pipe.png: not a regular file, but a named pipe\)"):
        open_images(str(folder), 16, on_bad="refuse")


def test_open_images_needs_a_readable_image(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"holds no images \(a.txt: not an image\)"):
        open_images(str(tmp_path), 16)
    (tmp_path / "a.txt").unlink()
    write_truncated(tmp_path / "b.jpg")
    write_truncated(tmp_path / "c.jpg")
    with pytest.raises(ValueError, match=r"no image can be read \([bc]\.jpg: truncated"):
        open_images(str(tmp_path), 16)[0]


def test_open_images_min_side(tmp_path: Path) -> None:
    write(tmp_path / "a.png", size=(20, 7))
    write(tmp_path / "b.png", size=(20, 8))
    (bad,) = open_images(str(tmp_path), 16, split="all")[0].bad
    assert bad == BadFile("a.png", "20 x 7 pixels, smaller than 8")
    assert not open_images(str(tmp_path), 16, split="all")[1].bad
    assert not open_images(str(tmp_path), 16, split="all", min_side=1)[0].bad


def test_image_set_item_is_function_of_seed_index_epoch(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8), (16, 1))
    for name in "ab":
        Image.fromarray(ramp).save(tmp_path / f"{name}.png")

    def opened(seed: int) -> ImageSet:
        return open_images(str(tmp_path), 16, split="all", crop="random", flip=True, seed=seed)

    images = opened(0)
    seen = {images[0, epoch].image.numpy().tobytes() for epoch in range(50)}
    assert len(seen) > 35
    assert torch.equal(images[0, 3].image, opened(0)[0, 3].image)
    assert torch.equal(images[0].image, images[0, 0].image)
    assert not torch.equal(images[0, 3].image, images[1, 3].image)
    assert not torch.equal(images[0, 3].image, opened(1)[0, 3].image)
    rising = Counter(bool(images[0, epoch].image[0, 0].diff().mean() > 0) for epoch in range(200))
    assert 70 <= rising[True] <= 130
    firsts = [images[0, epoch].image.min().item() for epoch in range(200)]
    assert min(firsts) < -0.9
    assert max(firsts) > 0.3


def test_image_set_without_augmentation_ignores_epoch(folder: Path) -> None:
    images = open_images(str(folder), 16)
    assert torch.equal(images[5, 0].image, images[5, 9].image)


def test_image_set_labels_are_class_folders(tmp_path: Path) -> None:
    for label, name in enumerate(("ant", "bee", "cow")):
        for number in range(6):
            write(tmp_path / name / f"{number}.png", 80 * label)
    images = open_images(str(tmp_path), 16)
    assert images.classes == ("ant", "bee", "cow")
    assert [80 * label for label in images.labels] == [80 * row.label for row in images] == greys(images)


def test_image_set_digest_follows_names_and_lengths(folder: Path) -> None:
    digest = open_images(str(folder), 16).digest
    assert digest == open_images(str(folder), 8).digest
    assert digest != open_images(str(folder), 16, split="held_out").digest
    write(folder / "00.png", size=(64, 64))
    assert digest != open_images(str(folder), 16).digest


def test_image_set_pickles(folder: Path) -> None:
    for source in (str(folder), "embedded"):
        images = open_images(source, 16, split="held_out")
        copy = pickle.loads(pickle.dumps(images))
        assert torch.equal(copy[0].image, images[0].image)


def test_collate_keeps_order_and_bad_files() -> None:
    samples = [ImageRow(torch.full((3, 2, 2), i / 4), i, (BadFile(str(i), "why"),) * (i % 2), 7 - i) for i in range(4)]
    batch = collate(samples)
    assert batch.images.shape == (4, 3, 2, 2)
    assert torch.equal(batch.images[:, 0, 0, 0], torch.arange(4) / 4)
    assert torch.equal(batch.labels, torch.arange(4))
    assert [file.name for file in batch.bad] == ["1", "3"]
    assert batch.indices == (7, 6, 5, 4)


def test_image_set_index_error(folder: Path) -> None:
    images = open_images(str(folder), 16, split="all")
    with pytest.raises(IndexError):
        images[40]
