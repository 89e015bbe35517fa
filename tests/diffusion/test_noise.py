import torch

from spectrum_matching.diffusion import SampleNoise

SHAPE = (3, 8, 8)


def test_sample_noise_is_equal_in_any_batch():
    together, alone, turned = SampleNoise(1, range(5)), SampleNoise(1, [3]), SampleNoise(1, (4, 3))
    for drawn in (lambda noise: noise.start(SHAPE), lambda noise: noise.at(7, SHAPE)):
        assert drawn(together).shape == (5, *SHAPE)
        assert torch.equal(drawn(together)[3:4], drawn(alone))
        assert torch.equal(drawn(together)[[4, 3]], drawn(turned))


def test_sample_noise_differs_by_seed_sample_and_step():
    ours, theirs = SampleNoise(1, range(4)), SampleNoise(2, range(4))
    drawn = torch.cat([ours.start(SHAPE), ours.at(0, SHAPE), ours.at(1, SHAPE), theirs.start(SHAPE)]).flatten(1)
    correlation = torch.corrcoef(drawn) - torch.eye(16)
    assert correlation.abs().max() < 0.3  # four standard errors of unrelated noise


def test_sample_noise_is_standard_normal_and_keeps_global_state():
    state = torch.get_rng_state()
    noise = SampleNoise(0, range(200)).start(SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
