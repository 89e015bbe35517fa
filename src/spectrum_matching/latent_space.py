"""Normalisation of raw latents to the unit scale of diffusion models, and back."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

Convention = Literal["none", "scale", "shift and scale", "per channel", "packed"]


@dataclass(frozen=True)
class LatentSpace:
    """Affine normalisation by channel: unit = (raw − mean) / std.

    mean, std: one value for all channels, or one each. patch: p × p positions are stacked into channels beforehand, as
    FLUX.2 packs them (channel-major, then row, then column); mean and std are then those of the c·p² packed channels.
    """

    convention: Convention = "none"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    patch: int = 1

    def normalise(self, latents: Tensor) -> Tensor:
        """Map raw latents (b, c, h, w) to unit scale (b, c·patch², h/patch, w/patch).

        Raises:
            ValueError: when the number of channels does not fit.
        """
        packed = pixel_unshuffle(latents, self.patch)
        mean, std = self._statistics(packed)
        return (packed - mean) / std

    def denormalise(self, units: Tensor) -> Tensor:
        """Invert `normalise`."""
        mean, std = self._statistics(units)
        return pixel_shuffle(units * std + mean, self.patch)

    def _statistics(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        for values in (self.mean, self.std):
            if len(values) not in (1, packed.shape[1]):
                raise ValueError(
                    f"latents have {packed.shape[1]} channels (after packing {self.patch} x {self.patch}), "
                    f"but the normalisation has statistics for {len(values)}"
                )
        # Not built on the device: that would wait for all that is queued there, in every training step.
        mean, std = (
            torch.tensor(v, dtype=packed.dtype).to(packed.device, non_blocking=True) for v in (self.mean, self.std)
        )
        return mean.view(-1, 1, 1), std.view(-1, 1, 1)
