from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.images import open_images
from spectrum_matching.studies.frequency_bias.run_study import read_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten grey images of level 0, 20, …, 180."""
    for number in range(10):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def levels(pixels: torch.Tensor) -> list[int]:
    return [round((value + 1) * 127.5) // 20 for value in pixels[:, 0, 0, 0].tolist()]


def test_read_images_takes_others_for_those_that_cannot_be_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = levels(read_images(open_images(str(folder), 8, split="all"), 4))
    assert len(set(chosen)) == 4
    for number in chosen[:2]:
        (folder / f"{number}.png").write_text("not pixels")
    images = open_images(str(folder), 8, split="all")
    with caplog.at_level("WARNING"):
        found = levels(read_images(images, 4))
    assert found[:2] == chosen[2:]
    assert len(set(found) - set(chosen[:2])) == 4
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"skipped {number}.png: not an image" for number in chosen[:2]]
    assert sorted(levels(read_images(images, 8))) == sorted(set(range(10)) - set(chosen[:2]))
    with pytest.raises(ValueError, match="8 images can be read and 9 are taken; lower n_train or n_test"):
        read_images(images, 9)
