"""Latents of the tested images through decoders: PSNR, explained power by band, and pictures of a few."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...metrics.images.pixels import psnr
from ...nets.autoencoder import Autoencoder
from ...records.latent_maps import Bands, MapPicture
from ...seeding import spread
from ..album import central_png
from ..measure import require_finite
from .explained import Explained

N_PICTURES = {2: 3}
"""Images that are shown, by the number of spaces; of more spaces one."""


class Reconstruction(NamedTuple):
    """What a decoder makes of the tested images: PSNR of each (n,), and the share of their power by band."""

    psnr: Tensor
    kept: Bands


class TestedImages:
    """The images whose latents are decoded, by their rows among all; pictures: what came of the first few.

    devices: of the networks, by name.
    """

    def __init__(
        self,
        networks: Mapping[str, Autoencoder],
        images: Mapping[int, Tensor],
        batch_size: int,
        devices: Mapping[str, torch.device],
    ) -> None:
        self.rows = list(images)
        self._networks, self._batch_size, self._devices = networks, batch_size, devices
        self._images = torch.stack(list(images.values()))
        shown = spread(len(images), N_PICTURES.get(len(networks), 1))
        self._names = {k: f"image {self.rows[k] + 1}" for k in shown}
        self.pictures = [MapPicture(name, "", "", 0, central_png(self._images[k])) for k, name in self._names.items()]

    def decode(self, source: str, target: str, kernel: int, latents: Tensor) -> Reconstruction:
        """Decode latents of these images (n, c, h, w) by the target's decoder, and compare with the images."""
        errors, explained = [], Explained()
        for first in range(0, len(latents), self._batch_size):
            images = self._images[first : first + self._batch_size]
            batch = latents[first : first + self._batch_size].float().to(self._devices[target])
            decoded = (
                require_finite(target, "pictures", self._networks[target].decode(batch).float()).cpu().clamp(-1, 1)
            )
            errors.append(psnr(decoded, images))
            explained.add(images, decoded)
            for k, picture in enumerate(decoded, first):
                if k in self._names:
                    self.pictures.append(MapPicture(self._names[k], source, target, kernel, central_png(picture)))
        return Reconstruction(torch.cat(errors).double(), explained.bands())
