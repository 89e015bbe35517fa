import torch

from spectrum_matching.metrics.latents.moments import DEAD, dead_channels


def test_dead_channels_are_negligible_beside_the_largest():
    assert dead_channels(torch.tensor([1e3, 2e-3, 1e-3, 0.0])).tolist() == [False, False, True, True]
    assert dead_channels(torch.zeros(2)).all()
    assert dead_channels(torch.tensor([1.0, DEAD, DEAD * 1.001]).double()).tolist() == [False, True, False]
