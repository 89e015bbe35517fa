import numpy as np
import pytest
import torch
from skimage import data

from spectrum_matching.data.embedded import COLOUR, GREY, embedded_pictures
from spectrum_matching.data.images import open_images


def test_embedded_pictures_splits_are_disjoint() -> None:
    train, out, every = (open_images("embedded", 32, split=split) for split in ("train", "held_out", "all"))
    assert (len(train), len(out), len(every)) == (4096, 256, 4352)
    assert not set(train.names) & set(out.names)
    assert not set(COLOUR["train"] + GREY["train"]) & set(COLOUR["held_out"] + GREY["held_out"])
    whole = {
        split: {level[0].tobytes() for group in embedded_pictures(split) for level in group}
        for split in ("train", "held_out")
    }
    assert not whole["train"] & whole["held_out"]


def test_embedded_pictures_keep_views_of_scene_together() -> None:
    assert {"motorcycle_left", "motorcycle_right"} <= set(COLOUR["train"])


def test_embedded_pictures_are_bundled() -> None:
    assert np.array_equal(embedded_pictures("train").colour[0][0], data.astronaut())
    grey = np.asarray(embedded_pictures("held_out").grey[0][0])
    assert np.array_equal(grey, np.repeat(data.camera()[..., None], 3, axis=2))


def test_embedded_source_items_are_independent() -> None:
    first = open_images("embedded", 32, seed=0)
    item = first[17].image
    other = open_images("embedded", 32, seed=9)
    for i in range(5):
        other[i]
    assert torch.equal(item, other[17].image)


def test_embedded_source_shares_of_kinds() -> None:
    images = open_images("embedded", 32)
    grey = [bool((image := images[i].image).eq(image[:1]).all()) for i in range(400)]
    assert not any(grey[3::4])
    assert 70 <= sum(grey) <= 130


@pytest.mark.parametrize("size", [32, 64, 256])
def test_embedded_source_images_are_sharp_and_in_range(size: int) -> None:
    images = torch.stack([open_images("embedded", size, split="held_out")[i].image for i in range(16)])
    assert images.shape == (16, 3, size, size)
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std((1, 2, 3)).min() > 0.01
    assert images.diff(dim=-1).abs().mean() > 0.01


def test_embedded_source_refuses_large_size() -> None:
    with pytest.raises(ValueError, match="up to 256 pixels, not 512"):
        open_images("embedded", 512)
