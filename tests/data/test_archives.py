import zipfile

import numpy as np
import pytest
import torch

from random_of_tests import pixels
from spectrum_matching.data.arrays import ArchivedImages
from spectrum_matching.data.order import fixed_batches


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archived_images_are_the_same_in_any_order_and_from_workers(tmp_path, save):
    save(tmp_path / "s.npz", pixels())
    images = ArchivedImages(tmp_path / "s.npz")
    expected = torch.from_numpy(pixels()).permute(0, 3, 1, 2) / 127.5 - 1
    assert len(images) == len(images.names) == 7
    for index in (5, 2, 6, 0):
        torch.testing.assert_close(images[index].image, expected[index])
    for workers in (0, 2):
        batches = list(fixed_batches(images, 2, workers=workers))
        torch.testing.assert_close(torch.cat([batch.images for batch in batches]), expected)


def test_archived_images_digest_depends_on_values(tmp_path):
    np.savez(tmp_path / "a.npz", pixels())
    np.savez(tmp_path / "b.npz", 255 - pixels())
    assert ArchivedImages(tmp_path / "a.npz").digest != ArchivedImages(tmp_path / "b.npz").digest


def test_archived_images_names_the_image_where_a_file_ends(tmp_path):
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive, archive.open("arr_0.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (7, 8, 8, 3)})
        stream.write(pixels(5).tobytes())
    with pytest.raises(ValueError, match=r"cut.npz is cut off within image 5 of 7"):
        ArchivedImages(tmp_path / "cut.npz")
