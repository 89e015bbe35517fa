import itertools
from pathlib import Path

import pytest
import torch

from spectrum_matching.data.images import open_images
from spectrum_matching.latent_space import Convention, LatentSpace
from spectrum_matching.latents.latent_set import Statistics
from spectrum_matching.latents.statistics import joint_space, latent_space, measure_as_declared
from spectrum_matching.metrics.latents.moments import ChannelMoments
from spectrum_matching.nets.autoencoder import Autoencoder


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


@pytest.mark.parametrize("by", ["global", "centred"])
def test_a_constant_channel_is_left_out_of_one_scale_for_all(by: Statistics, generator: torch.Generator) -> None:
    """So that the others have unit scale, which is what `analyze` judges."""
    offsets = torch.tensor([1.0, -2.0, 3.0]).view(3, 1, 1)
    latents = torch.randn(500, 3, 4, 4, generator=generator, dtype=torch.float64) * 0.2 + offsets
    latents[:, 0] = 1
    unit = latent_space(moments_of(latents, None), by).to_unit(latents)
    assert float(unit[:, 1:].std(correction=0)) == pytest.approx(1)
    assert float(unit[:, 0].std()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("convention", ["none", "scale", "shift and scale", "per channel", "packed"])
@torch.no_grad()
def test_measure_as_declared_makes_unit_latents_in_the_same_convention(
    image_folder: Path, convention: Convention
) -> None:
    autoencoder = Autoencoder.from_preset("tiny").eval()
    patch = 2 if convention == "packed" else 1
    autoencoder.latent_space = LatentSpace(convention, patch=patch)
    images = open_images(str(image_folder), 32, split="all")
    space = measure_as_declared(autoencoder, images, torch.device("cpu"))
    assert (space.convention, space.patch) == ("scale" if convention == "none" else convention, patch)
    by_channel = convention in ("per channel", "packed")
    assert len(space.std) == (autoencoder.channels * patch**2 if by_channel else 1)
    posterior = autoencoder.encode(torch.stack([images[i].image for i in range(len(images))]))
    units = space.to_unit(posterior.mean).double()
    # Variances of posteriors scale as the squares of latents do.
    scales = torch.nn.functional.pixel_unshuffle(posterior.std, patch).double() / torch.tensor(space.std).view(-1, 1, 1)
    over = (0, 2, 3) if by_channel else (0, 1, 2, 3)
    variance = units.var(over, correction=0) + scales.square().mean(over)
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-4, atol=0)
    if convention not in ("none", "scale"):
        assert units.mean(over).abs().max() < 1e-4
