"""Spectral energy concentration: the share of a latent's energy at high frequencies."""

from dataclasses import replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...spectrum.power import power_spectrum
from ..estimates import estimate_ratio
from ..metric import RIGHT_SPACE, STANDARDISED, Metric, Published
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

SEC_25 = Metric(
    key="sec_25",
    title="spectral energy concentration, ρ = 0.25",
    unit="share",
    better="lower",
    range="0 to 1",
    bounds=(0.0, 1.0),
    one_sided=True,
    source=f"{RIGHT_SPACE}, equations 7–9",
    evidence="|r| with gFID 0.63–0.80 within one family of 43 tokenizers of one shape, at a ρ that the paper does not "
    "state; none at ρ = 0.25",
    across=Published(-0.14, (-0.55, 0.28), 21, "ρ = 0.5"),
    conventions=f"DCT of the whole map, u + v > 0.25 · (h + w − 2), DC kept; the paper states no ρ; {STANDARDISED}",
)
SEC_50 = replace(
    SEC_25,
    key="sec_50",
    title="spectral energy concentration, ρ = 0.5",
    across=Published(-0.14, (-0.55, 0.28), 21),
    evidence="the right order in three published pairs of one shape, before and after one change; |r| with gFID "
    "0.63–0.80 within one family of 43 tokenizers of one shape, if this is the paper's ρ, which it does not state",
    conventions=f"DCT of the whole map, u + v > 0.5 · (h + w − 2), DC kept; {STANDARDISED}",
    is_alternative=True,
)
RHO = {SEC_25.key: 0.25, SEC_50.key: 0.5}


def beyond(grid: tuple[int, int], rho: float) -> Tensor:
    """Return which coefficients have u + v > rho · (h − 1 + w − 1): (h, w) bool."""
    h, w = grid
    return torch.arange(h)[:, None] + torch.arange(w) > rho * (h + w - 2)


def energies(latents: Tensor, *rhos: float) -> tuple[Tensor, ...]:
    """Return the energy beyond each of `rhos`, then that of all coefficients, of latents (b, c, h, w): (b,) each."""
    power = power_spectrum(latents).sum(1)
    h, w = power.shape[1:]
    return (*(power[:, beyond((h, w), rho)].sum(1) for rho in rhos), power.sum((-2, -1)))


def concentration(latents: Tensor, rho: float = 0.25) -> float:
    """Return the share of DCT energy at u + v > rho · (h + w − 2), in [0, 1], of standardised latents (b, c, h, w)."""
    high, total = energies(latents, rho)
    return float(high.sum() / total.sum())


def white_concentration(grid: tuple[int, int], rho: float = 0.25) -> float:
    """Return the concentration of white noise: the share of coefficients beyond `rho`."""
    return float(beyond(grid, rho).double().mean())


def _collect(batch: StandardisedBatch) -> BatchRows:
    names = (*(f"energy_{key}" for key in RHO), "energy")
    return BatchRows(dict(zip(names, energies(batch.latents, *RHO.values()), strict=True)))


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    if min(sweep.grid) < 2:
        return dict.fromkeys(RHO, Measurement(None, refused=f"a {sweep.size} grid has no two-dimensional spectrum"))
    return {
        key: estimate_ratio(sweep.rows(f"energy_{key}"), sweep.rows("energy"), white_concentration(sweep.grid, rho))
        for key, rho in RHO.items()
    }


CONCENTRATION = LatentMetric((SEC_25, SEC_50), _numbers, _collect)
