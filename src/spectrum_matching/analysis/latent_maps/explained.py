"""How much of a set of fields is explained: by radial band, by channel, and in all, with errors over images."""

from functools import lru_cache

import torch
from torch import Tensor

from ...metrics.estimates import estimate_ratio
from ...metrics.rows import Rows
from ...records.latent_maps import Bands
from ...records.measurement import Measurement
from ...spectrum.power import power_spectrum, radial_bins

MOST_BANDS = 16


class Explained:
    """Power of fields, and of what an estimate of them leaves over, of every image by band and by channel."""

    def __init__(self) -> None:
        self._grid = (0, 0)
        self._bands, self._channels = Rows(), Rows()

    def add(self, fields: Tensor, estimates: Tensor) -> None:
        """Add fields of images and their estimates, (b, c, h, w) both; a share of 0 is that of an estimate of zero."""
        self._grid = (fields.shape[-2], fields.shape[-1])
        spectra = [power_spectrum(each.double()) for each in (fields, fields - estimates)]
        self._bands.add(torch.stack([_by_band(power.sum(1)) for power in spectra], 1).cpu())
        self._channels.add(torch.stack([power.sum((-2, -1)) for power in spectra], 1).cpu())

    def whole(self) -> float:
        """Return the power of all fields."""
        return float(self._channels.all()[:, 0].sum())

    def share(self) -> Measurement:
        """Return the share that is explained of all power together."""
        return _explained(self._channels.all().sum(-1))

    def channels(self) -> tuple[Measurement, ...]:
        """Return the share of each channel (c)."""
        return tuple(map(_explained, self._channels.all().unbind(-1)))

    def bands(self) -> Bands:
        """Return the share of each band."""
        dc, *shares = map(_explained, self._bands.all().unbind(-1))
        return Bands(tuple(_bands(self._grid)[1].tolist()), tuple(shares), dc)


def _explained(rows: Tensor) -> Measurement:
    """Return 1 − the sum of what is left over by the sum of what there is: rows (n, 2), what there is first."""
    wholes, lefts = rows.unbind(1)
    if wholes.sum() <= 0:
        return Measurement(None, refused="there is nothing to explain")
    left = estimate_ratio(lefts, wholes)
    return Measurement(1 - float(left), left.standard_error)


def _by_band(power: Tensor) -> Tensor:
    """Return sums of power (b, h, w) over DC and over each band, (b, 1 + bins)."""
    bands, frequencies = _bands((power.shape[-2], power.shape[-1]))
    sums = power.new_zeros(len(power), 1 + len(frequencies))
    return sums.index_add_(1, bands.to(power.device), power.flatten(1))


@lru_cache(maxsize=8)
def _bands(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the band of each coefficient of a grid (h·w,), 0 for DC, and the bands' frequencies (bins,)."""
    rings = radial_bins(*grid, min(MOST_BANDS, *grid), "frequency")
    bands = rings.rings.flatten() + 1
    bands[0] = 0
    filled, bands = bands.unique(return_inverse=True)
    return bands, rings.frequencies[filled[1:] - 1]
