"""One pass over latents: a few numbers for each image, and sums in groups of images; nothing else is kept."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..estimates import GroupedSums
from .block_dct import block_amplitudes
from .channels import cell_products, dead_channels, power_sums
from .concentration import energies
from .moments import Moments
from .neighbours import pool
from .tokens import distance_cosines, local_correlation, neighbour_correlation, srss

MASK_SHARE = 1 / 4
"""Images count for SRSS if both foreground and background fill this share of the grid, as in iREPA's code."""


class LatentBatch(NamedTuple):
    """Raw latents (b, c, h, w), class ids (b,) with −1 for none, foreground (b, h, w) bool or None."""

    latents: Tensor
    labels: Tensor
    masks: Tensor | None = None


class LatentSweep:
    """What the metrics of latents need of each image. Dead channels are left out, the others standardised.

    rows: name → (n, …), one row an image. groups: sums of what is no mean over images.
    """

    def __init__(self, moments: Moments) -> None:
        self.live = ~dead_channels(moments.channel_stds)
        self.n = 0
        self.n_masks = 0
        self.grid = (0, 0)
        self.groups = GroupedSums()
        self.moments = moments
        self._rows: dict[str, list[Tensor]] = {}

    def standardised(self, latents: Tensor) -> Tensor:
        """Live channels with mean 0 and standard deviation 1 over the set: (b, c, h, w) → (b, live, h, w), float64."""
        means, stds = (values[self.live].view(-1, 1, 1) for values in self.moments[2:])
        return (latents.cpu().double()[:, self.live] - means) / stds

    def add(self, batch: LatentBatch) -> None:
        """Count a batch in. ValueError where the shape changes from batch to batch."""
        h, w = batch.latents.shape[-2:]
        if self.n and self.grid != (h, w):
            raise ValueError(
                f"latents of one set must have one grid, got {self.grid[0]} x {self.grid[1]} and {h} x {w}"
            )
        self.grid = (h, w)
        raw, latents = batch.latents.cpu().double()[:, self.live], self.standardised(batch.latents)
        self._keep("labels", batch.labels.cpu())
        self._keep("pooled", pool(batch.latents.cpu().double()))
        for name, rho in (("high_25", 0.25), ("high_50", 0.5)):
            high, total = energies(latents, rho)
            self._keep(name, high)
        self._keep("energy", total)
        self._keep("cosines", distance_cosines(latents))
        self._keep("cosines_raw", distance_cosines(raw))
        if not (h % 2 or w % 2):
            self._keep("local_correlation", local_correlation(latents))
        self._add_groups(raw, latents)
        self._add_masks(latents, batch.masks)
        self.n += len(latents)

    def _keep(self, name: str, rows: Tensor) -> None:
        self._rows.setdefault(name, []).append(rows)

    def _add_groups(self, raw: Tensor, latents: Tensor) -> None:
        sums = {"images": torch.ones(len(latents), dtype=torch.float64)}
        sums |= {"products": cell_products(latents), "powers": power_sums(latents)}
        if self.grid != (1, 1):
            sums["adjacent"] = neighbour_correlation(latents)
        if min(self.grid) >= 8:
            sums |= {"amplitudes": block_amplitudes(latents), "amplitudes_raw": block_amplitudes(raw)}
        for name, rows in sums.items():
            self.groups.add(name, rows, self.n)

    def _add_masks(self, latents: Tensor, masks: Tensor | None) -> None:
        features = pool(latents, None if masks is None else masks.cpu())
        self._keep("features", features)
        if masks is None:
            return
        share = masks.cpu().double().mean((-2, -1))
        balanced = (share >= MASK_SHARE) & (share <= 1 - MASK_SHARE)
        if balanced.any():
            self._keep("srss", srss(latents[balanced], masks.cpu()[balanced]))
        self.n_masks += len(masks)

    def rows(self, name: str) -> Tensor:
        """All rows of one name in the order of the images; empty where there were none."""
        return torch.cat(self._rows[name]) if name in self._rows else torch.empty(0, dtype=torch.float64)
