import os

import numpy as np
import pytest
import torch
from PIL import Image

from random_of_tests import pixels
from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.samples import open_samples


def folder_of(path, arrays, suffix="png"):
    path.mkdir()
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(path / f"{i:03d}.{suffix}")
    (path / "samples.json").write_text("{}")
    return path


def everything(path, batch_size=3, **share):
    images = open_samples(path)
    batches = fixed_batches(images, batch_size, **share)
    numbered = [(number, image) for batch in batches for number, image in zip(batch.indices, batch.images, strict=True)]
    return len(images), dict(numbered)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_open_samples_reads_archives_and_folders_in_shares(tmp_path, save):
    arrays = pixels()
    save(tmp_path / "s.npz", arrays, labels=np.arange(7))
    expected = torch.from_numpy(arrays).permute(0, 3, 1, 2) / 127.5 - 1
    for path in (tmp_path / "s.npz", folder_of(tmp_path / "png", arrays)):
        n, found = everything(path)
        assert n == 7
        assert list(found) == list(range(7))
        torch.testing.assert_close(torch.stack(list(found.values())), expected)
        shares = [everything(path, rank=rank, world=2)[1] for rank in (0, 1)]
        assert [list(share) for share in shares] == [[0, 1, 2, 6], [3, 4, 5]]
        assert torch.equal(shares[1][4], found[4])


@pytest.mark.parametrize(
    "name", ["grid.jpg", "zz.ppm", "noext", "deep/0.webp", "deep/samples.json", "notes.txt", "0.PNG"]
)
def test_open_samples_refuses_every_file_that_is_no_png_by_its_content(tmp_path, name):
    folder = folder_of(tmp_path / "f", pixels(2))
    (folder / "deep").mkdir()
    Image.fromarray(pixels(1)[0]).save(folder / name, "JPEG")
    with pytest.raises(ValueError, match=f"{name}: it is not a PNG by its content; a folder of samples holds"):
        open_samples(folder)


def test_open_samples_takes_every_png_whatever_its_name_and_folder(tmp_path):
    arrays, names = pixels(4), ("train/a.png", "test/noext", "val/b.jpg", "c.png")
    for array, name in zip(arrays, names, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / name, "PNG")
    n, found = everything(tmp_path)
    assert n == 4
    order = sorted(range(4), key=names.__getitem__)
    expected = torch.from_numpy(arrays[order]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(torch.stack(list(found.values())), expected)


def test_open_samples_refuses_pipes_and_second_names(tmp_path):
    piped, linked = (folder_of(tmp_path / name, pixels(2)) for name in ("piped", "linked"))
    os.mkfifo(piped / "x.png")
    (linked / "same.png").symlink_to("000.png")
    with pytest.raises(ValueError, match=r"x\.png: not a regular file, but a named pipe"):
        open_samples(piped)
    with pytest.raises(ValueError, match=r"same\.png is a second name"):
        open_samples(linked)


def test_open_samples_waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "s.npz")
    with pytest.raises(ValueError, match=r"s\.npz cannot be read as \.npz \(not a regular file, but a named pipe\)"):
        open_samples(tmp_path / "s.npz")


def test_open_samples_refuses_other_folders_and_files(tmp_path):
    mixed = folder_of(tmp_path / "mixed", [pixels(1)[0], pixels(1, 16)[0]])
    broken = folder_of(tmp_path / "broken", pixels(2))
    (broken / "001.png").write_bytes(b"nothing")
    cut = folder_of(tmp_path / "cut", pixels(2))
    (cut / "001.png").write_bytes((cut / "000.png").read_bytes()[:12])
    empty = folder_of(tmp_path / "empty", [])
    np.savez(tmp_path / "floats.npz", np.zeros((2, 8, 8, 3)))
    np.savez(tmp_path / "named.npz", images=pixels())
    cases = {
        mixed: r"001.png has 16 x 16 pixels, expected 8 x 8",
        broken: "001.png: it is not a PNG by its content",
        cut: "001.png: it cannot be read",
        empty: "holds no PNG files",
        tmp_path / "none": "is neither a folder of PNG files nor an .npz",
        tmp_path / "floats.npz": r"arr_0 is float64 \(2, 8, 8, 3\), expected uint8",
        tmp_path / "named.npz": "has no arr_0",
        tmp_path / "none.npz": "no such file: .*none.npz; check the path",
    }
    for path, complaint in cases.items():
        with pytest.raises(ValueError, match=complaint) as caught:
            open_samples(path)
        assert "\n" not in str(caught.value)
