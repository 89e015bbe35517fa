import torch

from spectrum_matching.seeding import indexed_noise


def test_indexed_noise_follows_from_index_and_position():
    whole = indexed_noise((4, 3, 8), 2, "a", 0)
    alone = [indexed_noise((1, 3, 8), 2 + i, "a", 0) for i in range(4)]
    assert torch.equal(whole, torch.cat(alone))
    assert len(whole[:, 0, 0].unique()) == 4
    assert not torch.equal(indexed_noise((1, 9), 0, "a", 0), indexed_noise((1, 9), 0, "a", 1))
