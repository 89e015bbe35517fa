"""Small autoencoders."""

from torch import nn


class Same(nn.Module):
    """Latents are the images."""

    encode = decode = staticmethod(lambda x: x)


class Halving(nn.Module):
    """Latents are the images at half size; decoding doubles pixels."""

    multiple = 2

    def encode(self, images):
        return nn.functional.avg_pool2d(images, 2)

    def decode(self, latents):
        return nn.functional.interpolate(latents, scale_factor=2)


class TwoHeads(nn.Module):
    """Mean and log-variance come from layers of their own, the latter's last."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList(nn.Conv2d(*sides, 1) for sides in ((3, 8), (8, 4), (8, 4)))
        self.decoder = nn.Conv2d(4, 3, 1)

    def encode(self, images):
        body, mean, logvar = self.encoder
        hidden = body(images)
        return mean(hidden), logvar(hidden)

    def decode(self, latents):
        return self.decoder(latents)
