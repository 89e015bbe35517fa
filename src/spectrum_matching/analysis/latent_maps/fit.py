"""Affine maps between latents in closed form: normal equations in one pass, and a fit without each group of images.

A map takes a neighbourhood of k × k positions, borders repeated, to the values at its centre. It is a matrix
(t, s·k² + 1): t channels of the target, s of the source, the offset last.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...metrics.estimates import N_GROUPS, GroupedSums, jackknife, known
from ...records.measurement import Measurement

RIDGE = 1e-6
"""Share of each input's variance that is added to it, so that channels that are dead or copies can be solved for."""

NEGLIGIBLE = 1e-12
"""Share of a channel's mean square up to which its variance is rounding."""


def neighbourhoods(latents: Tensor, kernel: int) -> Tensor:
    """Return the inputs of a map: (b, s, h, w) → (b, s·kernel² + 1, h·w) float64, channel by channel, a one at last."""
    padded = F.pad(latents.double(), [kernel // 2] * 4, mode="replicate")
    return F.pad(F.unfold(padded, kernel), (0, 0, 0, 1), value=1.0)


class NormalEquations:
    """Sums of products of a source's neighbourhoods and a target's values, over positions and images, in float64.

    kernel: the widest map that they can be solved for. n: images added so far; image i belongs to group i mod 20.
    """

    def __init__(self, kernel: int) -> None:
        self.kernel, self.n = kernel, 0
        self._sums = GroupedSums()

    def add(self, source: Tensor, target: Tensor) -> None:
        """Add the latents of images on one grid: (b, s, h, w), (b, t, h, w)."""
        inputs, outputs = neighbourhoods(source, self.kernel), target.double().flatten(2)
        self._sums.add("scatter", inputs @ inputs.mT, self.n)
        self._sums.add("cross", inputs @ outputs.mT, self.n)
        self._sums.add("squares", outputs.square().sum(-1), self.n)
        self.n += len(source)

    def fit(self, kernel: int) -> Tensor:
        """Return the map of side `kernel` fitted to all images: (t, s·kernel² + 1)."""
        rows = self._rows(kernel)
        scatter, cross = self._sums["scatter"].sum(0), self._sums["cross"].sum(0)
        return solve(scatter[rows][:, rows], cross[rows])

    def held_out_fits(self, kernel: int) -> Tensor:
        """Return for each group the map fitted to the images of all others: (groups, t, s·kernel² + 1)."""
        rows = self._rows(kernel)
        scatter, cross = self._sums["scatter"], self._sums["cross"]
        total, total_cross = scatter.sum(0), cross.sum(0)
        return torch.stack(
            [
                solve((total - scatter[g])[rows][:, rows], (total_cross - cross[g])[rows])
                for g in range(min(N_GROUPS, self.n))
            ]
        )

    def squared_error(self, kernel: int) -> float:
        """Return the squared error of `fit` over the images of the fit, summed over positions and channels."""
        rows, weights = self._rows(kernel), self.fit(kernel)
        scatter, cross = self._sums["scatter"].sum(0)[rows][:, rows], self._sums["cross"].sum(0)[rows]
        explained = 2 * (weights * cross.mT).sum() - ((weights @ scatter) * weights).sum()
        return float(self._sums["squares"].sum() - explained)

    def cosines(self) -> tuple[Measurement, ...]:
        """Return the cosine between channel i of the source and of the target, less their means, for every i."""
        rows = self._rows(1)
        scatter, cross = self._sums["scatter"][:, rows][:, :, rows], self._sums["cross"][:, rows]
        values, errors = jackknife(
            _correlations,
            cross[:, :-1].diagonal(dim1=1, dim2=2),
            scatter.diagonal(dim1=1, dim2=2)[:, :-1],
            self._sums["squares"],
            scatter[:, :-1, -1],
            cross[:, -1],
            scatter[:, -1, -1],
        )
        return tuple(
            Measurement(None, refused="a channel is constant")
            if value.isnan()
            else Measurement(float(value), known(error))
            for value, error in zip(values, errors, strict=True)
        )

    def _rows(self, kernel: int) -> Tensor:
        """Return which inputs a map of side `kernel` has: all, or the centre of each neighbourhood and the one."""
        inputs = torch.arange(self._sums["scatter"].shape[-1])
        if kernel == self.kernel:
            return inputs
        return torch.cat([inputs[:-1][self.kernel**2 // 2 :: self.kernel**2], inputs[-1:]])


def solve(scatter: Tensor, cross: Tensor) -> Tensor:
    """Return the ridge fit (t, d + 1) from sums of products of inputs with a one at last: (d + 1, d + 1), (d + 1, t).

    The ridge is of inputs in their own units, and none of the offset.
    """
    n, mean, target_mean = scatter[-1, -1], scatter[:-1, -1] / scatter[-1, -1], cross[-1] / scatter[-1, -1]
    covariance = scatter[:-1, :-1] / n - mean.outer(mean)
    shared = cross[:-1] / n - mean.outer(target_mean)
    variance = covariance.diagonal()
    std = torch.where(variance > NEGLIGIBLE * scatter.diagonal()[:-1] / n, variance.clamp_min(0), 1).sqrt()
    correlation = covariance / std.outer(std) + RIDGE * torch.eye(len(std)).to(std)
    weights = (torch.linalg.solve(correlation, shared / std[:, None]) / std[:, None]).mT
    return torch.cat([weights, (target_mean - weights @ mean)[:, None]], 1)


def _correlations(xy: Tensor, xx: Tensor, yy: Tensor, x: Tensor, y: Tensor, n: Tensor) -> Tensor:
    x_variance, y_variance = xx - x * x / n, yy - y * y / n
    varies = (x_variance > NEGLIGIBLE * xx) & (y_variance > NEGLIGIBLE * yy)
    return torch.where(varies, (xy - x * y / n) / (x_variance * y_variance).clamp_min(0).sqrt(), torch.nan)
