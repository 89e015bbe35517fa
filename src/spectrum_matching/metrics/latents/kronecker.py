"""Covariances as channels ⊗ positions: the maximum-likelihood factors, by flip-flop, of latents that are read again."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Latents (b, c, h, w) and the class of each (b,), −1 for those to leave out; the same on each call."""


class Kronecker:
    """The covariance of one class as channels ⊗ positions: its mean, both factors' inverses, and sums of one pass.

    values, vectors: eigenvalues, ascending, and eigenvectors of "channels" (c, ≤ c) and "positions" (h·w, ≤ h·w), of
    as many as the latents can tell.
    """

    def __init__(self, c: int, positions: int) -> None:
        self.n = 0
        self.mean = torch.zeros(c, positions, dtype=torch.float64)
        self.inverse = {"channels": torch.eye(c).double(), "positions": torch.eye(positions).double()}
        self.sums: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        self.vectors: dict[str, Tensor] = {}

    def add_mean(self, x: Tensor) -> None:
        """Add latents (b, c, h·w) to the mean."""
        self.n += len(x)
        self.mean += (x - self.mean).sum(0) / self.n

    def add_channels(self, x: Tensor) -> None:
        """Add latents to the channels' factor, given that of the positions."""
        rows = (x - self.mean).transpose(0, 1)
        self._add("channels", (rows @ self.inverse["positions"]).flatten(1) @ rows.flatten(1).mT)

    def add_positions(self, x: Tensor) -> None:
        """Add latents to the positions' factor, given that of the channels."""
        x = x - self.mean
        self._add("positions", (self.inverse["channels"] @ x).flatten(0, 1).mT @ x.flatten(0, 1))

    def _add(self, factor: str, products: Tensor) -> None:
        self.sums[factor] = self.sums[factor] + products if factor in self.sums else products

    def solve(self, factor: str) -> None:
        """Take a factor from its sums."""
        c, positions = self.mean.shape
        rows = self.n * (positions if factor == "channels" else c)
        values, vectors = torch.linalg.eigh(self.sums.pop(factor) / rows)
        rank = min(len(values), rows)
        # What is below is rounding, and its inverse would drown the other factor.
        kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp_min(1e-300)
        self.values[factor] = torch.where(kept, values, 0)[-rank:]
        self.vectors[factor] = vectors[:, -rank:]
        self.inverse[factor] = (vectors * torch.where(kept, 1 / values, 0)) @ vectors.mT


def sweep_classes(batches: Batches, fits: Mapping[int, Kronecker], count: Callable[[int, Tensor], None]) -> None:
    """Read all latents once and call `count` with each class in `fits` and its latents (b, c, h·w), float64."""
    for latents, labels in batches():
        for k in fits.keys() & set(labels.tolist()):
            count(k, latents[labels == k].flatten(2).cpu().double())


def fit_kronecker(batches: Batches, fits: Mapping[int, Kronecker], rounds: int) -> None:
    """Fit the covariance of each class by `rounds` of flip-flop: latents are read 1 + 2 · rounds times."""
    sweep_classes(batches, fits, lambda k, x: fits[k].add_mean(x))
    for _ in range(rounds):
        sweep_classes(batches, fits, lambda k, x: fits[k].add_channels(x))
        for fit in fits.values():
            fit.solve("channels")
        sweep_classes(batches, fits, lambda k, x: fits[k].add_positions(x))
        for fit in fits.values():
            fit.solve("positions")
