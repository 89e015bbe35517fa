"""How raw latents become the unit-scale ones that a diffusion model sees, and back."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

Convention = Literal["none", "scale", "shift and scale", "per channel", "packed"]


@dataclass(frozen=True)
class LatentSpace:
    """unit = (raw − mean) / std, channel by channel.

    mean, std: one value for all channels, or one each. patch: p × p cells are stacked into channels beforehand, as
    FLUX.2 packs them (channel-major, then row, then column); mean and std are then those of the c·p² packed channels.
    """

    convention: Convention = "none"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    patch: int = 1

    def normalise(self, latents: Tensor) -> Tensor:
        """Raw (b, c, h, w) → unit-scale (b, c·patch², h/patch, w/patch); ValueError where channels do not fit."""
        packed = pixel_unshuffle(latents, self.patch)
        mean, std = self._statistics(packed)
        return (packed - mean) / std

    def denormalise(self, units: Tensor) -> Tensor:
        """Inverse of `normalise`."""
        mean, std = self._statistics(units)
        return pixel_shuffle(units * std + mean, self.patch)

    def _statistics(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        for values in (self.mean, self.std):
            if len(values) not in (1, packed.shape[1]):
                raise ValueError(
                    f"latents have {packed.shape[1]} channels (after packing {self.patch} x {self.patch}), "
                    f"but the normalisation has statistics for {len(values)}"
                )
        mean, std = (torch.tensor(v, dtype=packed.dtype, device=packed.device) for v in (self.mean, self.std))
        return mean.view(-1, 1, 1), std.view(-1, 1, 1)
