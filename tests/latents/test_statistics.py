import itertools

import pytest
import torch

from spectrum_matching.latents.statistics import joint_space, latent_space
from spectrum_matching.metrics.latents.moments import ChannelMoments


def moments_of(mean: torch.Tensor, logvar: torch.Tensor | None) -> ChannelMoments:
    moments = ChannelMoments()
    moments.add(mean, logvar)
    return moments


@pytest.mark.parametrize("cuts", [(0, 40), (0, 1, 1, 30, 40), (0, 0, 20, 40)])
def test_channel_moments_merge_to_those_of_samples(generator: torch.Generator, cuts: tuple) -> None:
    # Far from 0, where sums of squares would lose every digit.
    mean = 1e6 + torch.randn(40, 3, 4, 4, generator=generator, dtype=torch.float64)
    logvar = torch.randn(40, 3, 4, 4, generator=generator, dtype=torch.float64)
    variance = mean.var((0, 2, 3), correction=0) + logvar.exp().mean((0, 2, 3))
    parts = [moments_of(mean[a:b], logvar[a:b]).state() for a, b in itertools.pairwise(cuts)]
    for order in (parts, parts[::-1]):
        merged = ChannelMoments()
        for part in order:
            merged.merge(ChannelMoments.from_state(part))
        space = latent_space(merged)
        assert space.mean == pytest.approx(mean.mean((0, 2, 3)).tolist(), rel=1e-14)
        assert space.std == pytest.approx(variance.sqrt().tolist(), rel=1e-9)
    joint = joint_space(space)
    everything = float((mean.var(correction=0) + logvar.exp().mean()).sqrt())
    assert (joint.mean[0], joint.std[0]) == pytest.approx((float(mean.mean()), everything), rel=1e-9)
    assert merged.moments()[:2] == pytest.approx((float(mean.mean()), everything), rel=1e-9)


def test_latent_space_keeps_scale_of_constant_channel() -> None:
    latents = torch.stack([torch.ones(2, 3, 3), torch.arange(18.0).view(2, 3, 3)], 1)
    space = latent_space(moments_of(latents, None))
    assert space.std[0] == 1
    assert space.to_unit(latents)[:, 0].eq(0).all()
