import pytest
import torch

from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.latents.moments import check_normalisation


def checked(space, latents):
    """From the moments of the normalised latents."""
    channels = space.to_unit(latents.double()).transpose(0, 1).flatten(1)
    return check_normalisation(space, channels.mean(1), channels.std(1, correction=0))


def latents(std=1.0, mean=0.0, channels=4):
    """Every channel of exactly this mean and deviation."""
    noise = torch.randn(32, channels, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviation, centre = torch.std_mean(noise, (0, 2, 3), correction=0, keepdim=True)
    return (noise - centre) / deviation * std + mean


@pytest.mark.parametrize("declared", [5.0, 2.0, 20.0])
def test_check_normalisation_std_is_ratio_to_declared(declared):
    check = checked(LatentSpace("scale", std=(declared,)), latents(5.0))
    assert float(check.std) == pytest.approx(5 / declared, rel=1e-9)
    assert check.suggested_scaling_factor == pytest.approx(0.2, rel=1e-9)


def test_check_normalisation_gives_extremes_over_channels():
    raw = latents() * torch.tensor([1.0, 2.0, 3.0, 4.0]).double().view(-1, 1, 1) + 5
    check = checked(LatentSpace("shift and scale", (4.0,), (2.0,)), raw)
    assert check.channel_stds == pytest.approx((0.5, 2.0))
    assert check.channel_means == pytest.approx((0.5, 0.5))


def test_check_normalisation_suggests_factor_of_raw_latents():
    raw = latents() * torch.tensor([1.0, 2.0, 3.0, 4.0]).double().view(-1, 1, 1) + 5
    spaces = [
        LatentSpace(),
        LatentSpace("scale", std=(2.0,)),
        LatentSpace("shift and scale", (5.0,), (3.0,)),
        LatentSpace("per channel", (5.0, 5.1, 4.9, 5.0), (1.0, 2.0, 3.0, 5.0)),
        LatentSpace("packed", (5.0,) * 16, tuple(float(k) for k in range(1, 17)), patch=2),
    ]
    for space in spaces:
        assert checked(space, raw).suggested_scaling_factor == pytest.approx(1 / float(raw.std(correction=0)), rel=1e-9)


def test_check_normalisation_of_measured_statistics_is_unit():
    raw = latents() * torch.tensor([1.0, 2.0, 3.0, 4.0]).double().view(-1, 1, 1) + 5
    check = checked(LatentSpace("per channel", (5.0,) * 4, (1.0, 2.0, 3.0, 4.0)), raw)
    assert (*check.channel_stds, check.channel_means[1]) == pytest.approx((1, 1, 0), abs=1e-9)


def test_check_normalisation_leaves_dead_channels_out():
    raw = latents(channels=6) * torch.tensor([1.0, 2, 3, 4, 0, 0]).double().view(-1, 1, 1) + 5
    live = checked(LatentSpace("scale", std=(2.0,)), raw[:, :4])
    check = checked(LatentSpace("scale", std=(2.0,)), raw)
    assert (float(check.std), check.channel_stds) == (pytest.approx(float(live.std)), pytest.approx(live.channel_stds))
    assert check.suggested_scaling_factor == pytest.approx(live.suggested_scaling_factor)
    correct = checked(LatentSpace("per channel", (5.0,) * 6, (1.0, 2.0, 3.0, 4.0, 1.0, 1.0)), raw)
    assert (float(correct.std), *correct.channel_stds) == pytest.approx((1, 1, 1))


def test_check_normalisation_of_constant_latents_suggests_one():
    assert checked(LatentSpace(), torch.ones(2, 4, 8, 8)).suggested_scaling_factor == 1.0
