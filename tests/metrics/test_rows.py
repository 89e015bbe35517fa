import pytest
import torch

from spectrum_matching.metrics.rows import Rows


@pytest.mark.parametrize("sizes", [(1,), (3, 0, 5), (1023, 1, 1), (700, 700, 1500), (5000,)])
def test_rows_are_those_that_were_added_in_order(sizes: tuple[int, ...]) -> None:
    rows, parts = Rows(), [torch.randn(n, 2, 3, dtype=torch.float64) for n in sizes]
    assert len(rows) == 0
    for part in parts:
        rows.add(part)
    assert len(rows) == sum(sizes)
    assert torch.equal(rows.all(), torch.cat(parts))


def test_rows_keep_their_dtype_and_copy_what_is_added() -> None:
    rows, labels = Rows(), torch.arange(4)
    rows.add(labels)
    labels[0] = 9
    assert rows.all().dtype == torch.int64
    assert rows.all().tolist() == [0, 1, 2, 3]
