"""Normalisation of raw latents to the unit scale of diffusion models, and back."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .spectrum.gain import apply_gain, radial_gain, resample_gain
from .spectrum.separable import in_working_precision

Convention = Literal["none", "scale", "shift and scale", "per channel", "packed"]


@dataclass(frozen=True)
class SpectralGain:
    """Gain on DCT coefficients: a function of frequency, and so one for every grid.

    values: positive; one row for all channels, or one each. With `frequencies`, ascending in cycles per sample: the
    gains there, as in `radial_gain`. With `grid` (h, w) instead: those of its coefficients, row by row, as in
    `resample_gain`.
    """

    values: tuple[tuple[float, ...], ...]
    frequencies: tuple[float, ...] = ()
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        n = self.grid[0] * self.grid[1] if self.grid else len(self.frequencies)
        if not n or bool(self.grid) == bool(self.frequencies) or any(len(row) != n for row in self.values):
            raise ValueError(f"expected rows of {n} gains, one for each frequency or for each coefficient of a grid")
        if not all(0 < value < float("inf") for row in self.values for value in row):
            raise ValueError("a gain must be positive and finite, or nothing undoes it")

    @cached_property
    def _tables(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def table(self, h: int, w: int) -> Tensor:
        """Return the gain of each coefficient, (rows, h, w) float64; computed once for each grid."""
        if (h, w) not in self._tables:
            values = torch.tensor(self.values, dtype=torch.float64)
            if self.grid:
                table = resample_gain(values.unflatten(-1, self.grid), h, w)
            else:
                table = radial_gain(torch.tensor(self.frequencies, dtype=torch.float64), values, h, w)
            self._tables[h, w] = table
        return self._tables[h, w]


@dataclass(frozen=True)
class LatentSpace:
    """Linear map between raw latents and those that a diffusion model learns: centred, scaled, and gained.

    mean, std: one value for all channels, or one each; unit = (raw − mean) / std. patch: p × p positions are stacked
    into channels beforehand, as FLUX.2 packs them (channel-major, then row, then column); mean and std are then those
    of the c·p² packed channels. rotation: orthonormal rows that take channels to decorrelated ones, after mean and std;
    none: ( ). gain: on the DCT coefficients of each of these channels, at last; None: no gain.

    Raises:
        ValueError: for means that are not finite, and standard deviations or a patch that are not positive.
    """

    convention: Convention = "none"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    patch: int = 1
    rotation: tuple[tuple[float, ...], ...] = ()
    gain: SpectralGain | None = None

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.mean)) or not all(0 < std < math.inf for std in self.std) or self.patch < 1:
            got = f"mean {self.mean}, std {self.std} and patch {self.patch}"
            raise ValueError(f"a latent space has finite means, and std and patch that are positive; got {got}")

    @property
    def without_gain(self) -> "LatentSpace":
        """The same without rotation and gain."""
        return replace(self, rotation=(), gain=None)

    @property
    def with_one_std(self) -> "LatentSpace":
        """The same with one standard deviation for all channels, the root mean square of theirs.

        Channels that do not vary are recorded with a standard deviation of 1 (`latents.statistics`), and left out.
        """
        live = [std for std in self.std if std != 1] or self.std
        return replace(self, std=(math.sqrt(math.fsum(std**2 for std in live) / len(live)),))

    def to_unit(self, latents: Tensor) -> Tensor:
        """Map raw latents (b, c, h, w) to unit scale (b, c·patch², h/patch, w/patch), in their dtype.

        It is computed in float32 or float64, also under autocast, and rounded once.

        Raises:
            ValueError: for another shape, integers, or a number of channels that does not fit.
        """
        units = pixel_unshuffle(_precise(latents), self.patch)
        mean, std = self._statistics(units)
        units = (units - mean) / std
        if self.rotation:
            units = _rotate(units, self._rotation(units))
        if self.gain is not None:
            units = apply_gain(units, self._placed(self._gain(units), units))
        return units.to(latents.dtype)

    def from_unit(self, units: Tensor) -> Tensor:
        """Invert `to_unit`."""
        precise = _precise(units)
        mean, std = self._statistics(precise)
        if self.gain is not None:
            precise = apply_gain(precise, self._placed(1 / self._gain(precise), precise))
        if self.rotation:
            precise = _rotate(precise, self._rotation(precise).mT)
        return pixel_shuffle(precise * std + mean, self.patch).to(units.dtype)

    def _statistics(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        rows = {"mean": self.mean, "std": self.std, "rotation": self.rotation or (0.0,)}
        if self.gain is not None:
            rows["gain"] = self.gain.values
        for name, values in rows.items():
            if len(values) not in (1, packed.shape[1]):
                raise ValueError(
                    f"latents have {packed.shape[1]} channels (after packing {self.patch} x {self.patch}), "
                    f"but the normalisation has a {name} of {len(values)}"
                )
        # Not built on the device: that would wait for all that is queued there, in every training step.
        mean, std = (
            torch.tensor(v, dtype=packed.dtype).to(packed.device, non_blocking=True) for v in (self.mean, self.std)
        )
        return mean.view(-1, 1, 1), std.view(-1, 1, 1)

    def _rotation(self, like: Tensor) -> Tensor:
        return self._placed(torch.tensor(self.rotation, dtype=torch.float64), like)

    def _gain(self, units: Tensor) -> Tensor:
        assert self.gain is not None
        return self.gain.table(units.shape[-2], units.shape[-1])

    @staticmethod
    def _placed(table: Tensor, like: Tensor) -> Tensor:
        """Return a table on the device of `like` and in its dtype, as not every device has float64."""
        return table.to(like.device, like.dtype, non_blocking=True)


def _precise(latents: Tensor) -> Tensor:
    if latents.ndim != 4:
        got = f"{tuple(latents.shape)}"
        raise ValueError(f"expected latents (b, c, h, w), got {got}: add a batch, or take frames one by one")
    return in_working_precision(latents)


def _rotate(units: Tensor, rotation: Tensor) -> Tensor:
    with torch.autocast(units.device.type, enabled=False):
        return (rotation @ units.flatten(2)).unflatten(-1, units.shape[-2:])
