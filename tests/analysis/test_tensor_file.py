from contextlib import closing

import torch

from spectrum_matching.analysis.tensor_file import TensorFile


def test_tensor_file_returns_rows_in_order():
    rows = torch.randn(11, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with closing(TensorFile()) as file:
        for part in rows.split(4):
            file.add(part)
        assert len(file) == 11
        for size in (1, 3, 11, 50):
            assert torch.equal(torch.cat(list(file.batches(size))), rows)
        assert torch.equal(file.read(0, 7), rows[:7])
        assert torch.equal(file.read(9, 7), rows[9:])
        # Reading leaves the file ready for more, and two readers do not disturb each other.
        file.add(rows[:2])
        one, other = file.batches(5), file.batches(2)
        assert torch.equal(next(one), rows[:5])
        assert torch.equal(next(other), rows[:2])
        assert torch.equal(next(one), rows[5:10])


def test_tensor_file_keeps_dtype():
    masks = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    with closing(TensorFile()) as file:
        file.add(masks)
        (back,) = file.batches(8)
    assert back.dtype == torch.bool
    assert torch.equal(back, masks)
