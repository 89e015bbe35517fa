import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.pictures import grid, to_bytes, write_grid, write_png

LEVELS = torch.arange(256, dtype=torch.uint8)


def test_to_bytes_inverts_to_tensor():
    images = (LEVELS.float() / 127.5 - 1).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_bytes(images)[0, :, :, 1].flatten(), LEVELS)
    nearly = images + 0.49 / 127.5 * torch.where(torch.arange(16) % 2 == 0, 1, -1)
    assert torch.equal(to_bytes(nearly), to_bytes(images))
    assert to_bytes(torch.tensor([-7.0, 7.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)).flatten().unique().tolist() == [
        0,
        255,
    ]


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (9, 3, 3), (12, 4, 3)])
def test_grid_holds_each_image_row_by_row(n, columns, rows):
    images = torch.rand(n, 3, 2, 4)
    (canvas,) = grid(images)
    assert canvas.shape == (3, rows * 2, columns * 4)
    cells = canvas.unfold(1, 2, 2).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(0, 1)
    assert torch.equal(cells[:n], images)
    assert (cells[n:] == -1).all()


def test_write_png_is_lossless_and_atomic(tmp_path):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels.numpy())
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"folder.png"):
        write_png(tmp_path / "folder.png", pixels)
    write_grid(tmp_path / "b.png", torch.zeros(3, 3, 2, 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "folder.png"]
