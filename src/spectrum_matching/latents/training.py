"""Cached latents in the order of training, which can be resumed at any step, and samples of their posteriors."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..data.order import PositionedBatches
from ..seeding import fraction
from .latent_set import LOGVAR_RANGE, Key, LatentSet


def training_keys(
    latents: LatentSet,
    batch_size: int,
    seed: int = 0,
    *,
    flip: bool = True,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    end: int | None = None,
) -> Iterator[list[Key]]:
    """Iterate over the batch_size / world rows of each step from `start` to `end`, for `LatentSet.read_batch`.

    The order is that of `PositionedBatches`.
    flip: show the mirrored image in half of the epochs, sampled anew for each image and epoch.

    Raises:
        ValueError: when `flip` is set and the cache holds no latents of mirrored images: a mirrored latent is not the
            latent of the mirrored image.
    """
    if flip and not latents.info.flips:
        raise ValueError(
            f"{latents.source} holds no latents of mirrored images; cache again with --flips, or train without flips"
        )
    order = PositionedBatches(len(latents), batch_size, seed, rank=rank, world=world, start=start, end=end)
    return ([(row, flip and fraction("flip", seed, epoch, row) < 0.5) for row, epoch in keys] for keys in order)


def sample_moments(mean: Tensor, logvar: Tensor | None, generator: torch.Generator) -> Tensor:
    """Sample posteriors (b, c, h, w): mean + std · noise, sampled on the CPU; without logvar return the mean."""
    if logvar is None:
        return mean
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + (logvar.clamp(*LOGVAR_RANGE) / 2).exp() * noise
