"""Cached latents in the order of training, which can be resumed at any step, and samples of their posteriors."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..data.order import PositionedBatches
from ..seeding import fraction
from .latent_set import LOGVAR_RANGE, Key, LatentSet


def training_keys(latents: LatentSet, order: PositionedBatches, flip: bool = True) -> Iterator[list[Key]]:
    """Iterate over the keys of each step for `LatentSet.read_batch`, in this order.

    flip: show the mirrored image in half of the epochs, sampled anew for each image and epoch.

    Raises:
        ValueError: when `flip` is set and the cache holds no latents of mirrored images: a mirrored latent is not the
            latent of the mirrored image.
    """
    if flip and not latents.info.flips:
        raise ValueError(
            f"{latents.source} holds no latents of mirrored images; cache again with --flips, or train without flips"
        )
    return ([(row, flip and fraction("flip", order.seed, epoch, row) < 0.5) for row, epoch in keys] for keys in order)


def sample_moments(mean: Tensor, logvar: Tensor | None, generator: torch.Generator) -> Tensor:
    """Sample posteriors (b, c, h, w): mean + std · noise, sampled on the CPU; without logvar return the mean."""
    if logvar is None:
        return mean
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + (logvar.clamp(*LOGVAR_RANGE) / 2).exp() * noise
