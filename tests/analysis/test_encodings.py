import torch

from spectrum_matching.analysis.encodings import Spool


def test_rows_come_back_in_order_however_they_were_cut():
    rows = torch.randn(11, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with Spool() as spool:
        for part in rows.split(4):
            spool.add(part)
        assert len(spool) == 11
        for size in (1, 3, 11, 50):
            assert torch.equal(torch.cat(list(spool.batches(size))), rows)
        assert torch.equal(torch.cat(list(spool.batches(3, 7))), rows[:7])
        # Reading leaves the spool ready for more, and two readers do not disturb each other.
        spool.add(rows[:2])
        one, other = spool.batches(5), spool.batches(2)
        assert torch.equal(next(one), rows[:5])
        assert torch.equal(next(other), rows[:2])
        assert torch.equal(next(one), rows[5:10])


def test_masks_keep_their_type():
    masks = torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    with Spool() as spool:
        spool.add(masks)
        (back,) = spool.batches(8)
    assert back.dtype == torch.bool
    assert torch.equal(back, masks)
