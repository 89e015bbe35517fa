"""Reference latents held in memory."""

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
