import pytest
import torch

from spectrum_matching.nets.denoiser.probe_denoiser import ProbeDenoiser


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_new_one_is_the_best_denoiser_of_white_data():
    t = torch.tensor([0.0, 0.25, 0.5, 1.0])
    data, added = noise(4, 3, 64, 64), noise(4, 3, 64, 64, seed=1)
    share = t.view(-1, 1, 1, 1)
    velocity = ProbeDenoiser(3)((1 - share) * data + share * added, t)
    loss = (velocity - (added - data)).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, 1 / ((1 - t).square() + t.square()), rtol=0.05, atol=0)


@pytest.mark.parametrize("grid", [(3, 3), (5, 8), (32, 32)])
def test_any_grid_is_taken(grid):
    assert ProbeDenoiser(4)(noise(2, 4, *grid), torch.rand(2)).shape == (2, 4, *grid)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = ProbeDenoiser(4, seed=1), ProbeDenoiser(4, seed=1), ProbeDenoiser(4, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.first.weight, other.first.weight)


@pytest.mark.parametrize("channels", [4, 32])
def test_it_has_the_stated_size(channels):
    assert sum(weight.numel() for weight in ProbeDenoiser(channels).parameters()) == 110_184 + 721 * channels


def test_every_weight_takes_part_once_training_has_begun():
    network = ProbeDenoiser(4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (network(noise(2, 4, 8, 8), torch.tensor([0.2, 0.7])) - noise(2, 4, 8, 8, seed=1)).square().mean().backward()
        optimizer.step()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())
