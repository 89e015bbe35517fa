"""Mean and standard deviation of posterior samples, channel by channel, from parts that are read once and merged."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.images import ImageSet
from ..data.order import batches_at
from ..latent_space import Convention, LatentSpace
from ..nets.autoencoder import Autoencoder
from ..seeding import seeded

BLOCK = 32  # images whose float64 values stay in the processor's cache


class ChannelMoments(NamedTuple):
    """Of n cells in each of c channels: of posterior means their mean and the sum of squared distances from it,
    and the sum of posterior variances (0 where there are none).
    """

    n: int
    mean: tuple[float, ...]
    squares: tuple[float, ...]
    variances: tuple[float, ...]


def channel_moments(mean: Tensor, logvar: Tensor | None) -> ChannelMoments:
    """Of mean and logvar (n, c, h, w), in float64."""
    means = mean.split(BLOCK)
    logvars = [None] * len(means) if logvar is None else logvar.split(BLOCK)
    blocks = [_of_block(*block) for block in zip(means, logvars, strict=True)]
    return merge_moments(blocks) if len(mean) else blocks[0]


def _of_block(mean: Tensor, logvar: Tensor | None) -> ChannelMoments:
    cells = mean.double().transpose(0, 1).flatten(1)
    centre = cells.mean(1) if cells.shape[1] else cells.new_zeros(len(cells))
    squares = (cells - centre[:, None]).square().sum(1)
    variances = torch.zeros_like(centre) if logvar is None else logvar.double().exp().sum((0, 2, 3))
    return ChannelMoments(cells.shape[1], *(tuple(values.tolist()) for values in (centre, squares, variances)))


def merge_moments(parts: Iterable[ChannelMoments]) -> ChannelMoments:
    """Of the parts together, which may be empty but not all.

    Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    first, *others = [part for part in parts if part.n]
    count = first.n
    mean, squares, variances = (torch.tensor(values, dtype=torch.float64) for values in first[1:])
    for part in others:
        part_mean, part_squares, part_variances = (torch.tensor(values, dtype=torch.float64) for values in part[1:])
        total = count + part.n
        apart = part_mean - mean
        mean = mean + apart * (part.n / total)
        squares = squares + part_squares + apart.square() * (count * part.n / total)
        variances = variances + part_variances
        count = total
    return ChannelMoments(count, *(tuple(values.tolist()) for values in (mean, squares, variances)))


def latent_space(moments: ChannelMoments) -> LatentSpace:
    """Mean and std of samples by channel: their variance is that of the means plus the mean of the variances.

    A channel that does not vary keeps its scale: std 1.
    """
    pairs = zip(moments.squares, moments.variances, strict=True)
    stds = (math.sqrt((squares + variances) / moments.n) for squares, variances in pairs)
    return LatentSpace("per channel", moments.mean, tuple(std or 1.0 for std in stds))


def joint_statistics(space: LatentSpace) -> tuple[float, float]:
    """Mean and std over all channels, each of as many values, from those of each channel."""
    mean = math.fsum(space.mean) / len(space.mean)
    parts = (std**2 + (one - mean) ** 2 for one, std in zip(space.mean, space.std, strict=True))
    return mean, math.sqrt(math.fsum(parts) / len(space.mean))


N_MEASURED, N_AT_ONCE = 512, 16


SMALLEST = 1e-6  # what has no deviation is written as one of e⁻¹⁵


@torch.no_grad()
def measured_space(
    images: ImageSet,
    autoencoder: Autoencoder,
    by_channel: bool,
    device: torch.device,
    *,
    seed: int = 0,
    n: int = N_MEASURED,
    workers: int = 0,
) -> LatentSpace:
    """What brings posterior samples of `n` images, drawn by the seed, to unit scale.

    The variance is that of the means plus the mean of the variances. ValueError for latents that do not vary.
    """
    # Of all images: they lie sorted by class, and the first ones would be of one.
    places = torch.randperm(len(images), generator=seeded("scale", seed))[:n].tolist()
    means, variances = [], []
    for at, batch in batches_at(images, N_AT_ONCE, places, workers=workers):
        if at:
            posterior = autoencoder.encode(batch.images.to(device))
            means.append(posterior.mean.double().cpu())
            variances.append(posterior.var.double().cpu())
    mean, variance = torch.cat(means), torch.cat(variances)
    axes = (0, 2, 3) if by_channel else (0, 1, 2, 3)
    std = (mean.var(axes, correction=0) + variance.mean(axes)).sqrt().reshape(-1)
    if not (std > SMALLEST).all() or not std.isfinite().all():
        raise ValueError("latents of these images do not vary, or are not finite: they cannot be brought to unit scale")
    convention: Convention = "per channel" if by_channel else "shift and scale"
    return LatentSpace(convention, tuple(mean.mean(axes).reshape(-1).tolist()), tuple(std.tolist()))
