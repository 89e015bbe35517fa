import math

import pytest
import torch

from spectrum_matching.latent_space import LatentSpace
from spectrum_matching.metrics.normalisation import check_normalisation


def checked(space, latents):
    """From the moments of the normalised latents."""
    channels = space.normalise(latents.double()).transpose(0, 1).flatten(1)
    return check_normalisation(space, channels.mean(1), channels.std(1, correction=0))


def latents(std=1.0, mean=0.0, channels=4):
    noise = torch.randn(32, channels, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviation, centre = torch.std_mean(noise, (0, 2, 3), correction=0, keepdim=True)
    return (noise - centre) / deviation * std + mean


@pytest.mark.parametrize(("declared", "verdict"), [(5.0, "matches"), (4.5, "matches"), (2.0, "off by ×2.5")])
def test_a_scale_matches_within_fifteen_percent_or_is_off_by_a_factor(declared, verdict):
    check = checked(LatentSpace("scale", std=(declared,)), latents(5.0))
    assert check.verdict == verdict
    assert check.std == pytest.approx(5 / declared, rel=1e-9)
    assert check.scaling_factor == pytest.approx(0.2, rel=1e-9)


def test_a_scale_that_makes_latents_too_small_is_off_by_less_than_one():
    assert checked(LatentSpace("scale", std=(10.0,)), latents(2.0)).verdict == "off by ×0.2"


def test_where_nothing_is_declared_nothing_is_judged_but_the_remedy_is_there():
    check = checked(LatentSpace(), latents(4.0))
    assert check.verdict == "nothing declared"
    assert check.scaling_factor == pytest.approx(0.25, rel=1e-9)


def test_the_suggested_factor_is_that_of_the_raw_latents_under_every_convention():
    raw = latents() * torch.tensor([1.0, 2.0, 3.0, 4.0]).double().view(-1, 1, 1) + 5
    spaces = [
        LatentSpace(),
        LatentSpace("scale", std=(2.0,)),
        LatentSpace("shift and scale", (5.0,), (3.0,)),
        LatentSpace("per channel", (5.0, 5.1, 4.9, 5.0), (1.0, 2.0, 3.0, 5.0)),
    ]
    for space in spaces:
        assert checked(space, raw).scaling_factor == pytest.approx(1 / float(raw.std(correction=0)), rel=1e-9)


def test_packed_latents_are_judged_packed():
    raw = latents(3.0, 1.0, channels=2)
    check = checked(LatentSpace("packed", (1.0,) * 8, (3.0,) * 8, patch=2), raw)
    assert check.verdict == "matches"
    assert check.highest_mean < 0.1  # each of the four phases has its own


def test_the_channels_furthest_from_unit_scale_are_named_worst_first():
    check = checked(
        LatentSpace("scale"), latents() * torch.tensor([1.0, 0.01, 1.5, 4.0], dtype=torch.float64).view(-1, 1, 1)
    )
    assert check.worst_channels == (1, 3, 2)
    assert (check.lowest_std, check.highest_std) == pytest.approx((0.01, 4.0), rel=1e-9)


def test_a_shift_left_over_counts_in_the_scale():
    check = checked(LatentSpace("scale"), latents(1.0, mean=3.0))
    assert (check.mean, check.highest_mean) == pytest.approx((3, 3), abs=1e-9)
    assert check.verdict == "matches"
    spread = latents() + torch.tensor([3.0, -3.0, 3.0, -3.0]).double().view(-1, 1, 1)
    assert checked(LatentSpace("scale"), spread).std == pytest.approx(math.sqrt(10), rel=1e-9)


def test_latents_that_do_not_vary_have_no_finite_factor():
    assert checked(LatentSpace("scale"), torch.zeros(2, 4, 8, 8)).scaling_factor == math.inf
