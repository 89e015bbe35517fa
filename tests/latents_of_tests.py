"""Latents for tests: reference latents held in memory, and how far apart positions are."""

import torch

from spectrum_matching.latents.statistics import latent_space
from spectrum_matching.metrics.latents.moments import ChannelMoments


class MemoryLatents:
    """`ReferenceLatents` of a tensor (n, c, h, w)."""

    def __init__(self, latents, labels=None):
        self.latents, self.n, self.shape = latents, len(latents), tuple(latents.shape[1:])
        self.labels = torch.full((self.n,), -1) if labels is None else labels
        moments = ChannelMoments()
        moments.add(latents)
        self.space = latent_space(moments)

    def blocks(self, size):
        return zip(self.latents.split(size), self.labels.split(size), strict=True)

    def read(self, indices):
        return self.latents[list(indices)]


def distances(h, w):
    """Manhattan distance of every ordered pair of positions: (T, T)."""
    positions = torch.cartesian_prod(torch.arange(h), torch.arange(w))
    return (positions[:, None] - positions).abs().sum(-1)
