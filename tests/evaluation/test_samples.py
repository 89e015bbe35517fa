import numpy as np
import pytest
import torch
from PIL import Image

from spectrum_matching.data.order import fixed_batches
from spectrum_matching.evaluation.samples import open_samples


def pixels(n=7, size=8):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


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


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_open_samples_refuses_lossy_files(tmp_path, suffix):
    with pytest.raises(ValueError, match=f"000.{suffix} may be lossy.*PNG"):
        open_samples(folder_of(tmp_path / "f", pixels(2), suffix))


def test_open_samples_refuses_other_folders_and_files(tmp_path):
    mixed = folder_of(tmp_path / "mixed", [pixels(1)[0], pixels(1, 16)[0]])
    broken = folder_of(tmp_path / "broken", pixels(2))
    (broken / "001.png").write_bytes(b"nothing")
    empty = folder_of(tmp_path / "empty", [])
    np.savez(tmp_path / "floats.npz", np.zeros((2, 8, 8, 3)))
    np.savez(tmp_path / "named.npz", images=pixels())
    cases = {
        mixed: r"001.png has 16 x 16 pixels, expected 8 x 8",
        broken: r"001.png cannot be read \(not an image\)",
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
