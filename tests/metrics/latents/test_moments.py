import torch

from spectrum_matching.metrics.latents.moments import dead_channels


def test_dead_channels_are_negligible_beside_the_largest():
    assert dead_channels(torch.tensor([1e3, 2e-3, 1e-3, 0.0])).tolist() == [False, False, True, True]
    assert dead_channels(torch.zeros(2)).all()
