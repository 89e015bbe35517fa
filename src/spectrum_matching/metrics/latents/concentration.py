"""How much energy lies at high frequencies: spectral energy concentration, and shares of energy by zig-zag bands."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ...spectrum.power import power_spectrum


def beyond(grid: tuple[int, int], rho: float) -> Tensor:
    """Coefficients with u + v > rho · (h − 1 + w − 1): (h, w) bool."""
    h, w = grid
    return torch.arange(h)[:, None] + torch.arange(w) > rho * (h + w - 2)


def energies(latents: Tensor, rho: float, drop_dc: bool = False) -> tuple[Tensor, Tensor]:
    """Energy beyond `rho` and in all: latents (b, c, h, w) → (b,), (b,), one DCT over the whole map of each channel.

    SEC is the ratio of their sums over images (`concentration`), so that it streams. drop_dc: leave coefficient
    (0, 0) out of the second.
    """
    power = power_spectrum(latents).sum(1)
    h, w = power.shape[1:]
    high = power[:, beyond((h, w), rho)].sum(1)
    total = power.sum((-2, -1))
    return high, total - power[:, 0, 0] if drop_dc else total


def concentration(latents: Tensor, rho: float = 0.25, drop_dc: bool = False) -> float:
    """Spectral energy concentration: share of DCT energy at u + v > rho · (h + w − 2), in [0, 1]; lower is better.

    latents (b, c, h, w), standardised channel by channel. Source: Diffusing in the Right Space (arXiv 2606.03578),
    equations 7–9; it keeps DC and does not state rho, for which 0.25 fits its plots and 0.5 is the other reading.
    Validated within families of tokenizers of one shape: |r| with gFID 0.63 to 0.80 over 43 of them. A blurred latent
    wins it. Tested against an independent float64 implementation.
    """
    high, total = energies(latents, rho, drop_dc)
    return float(high.sum() / total.sum())


def white_concentration(grid: tuple[int, int], rho: float = 0.25, drop_dc: bool = False) -> float:
    """What white noise gives: the share of coefficients beyond `rho`."""
    high = beyond(grid, rho)
    return float(high.sum()) / (high.numel() - drop_dc)


def zigzag_order(h: int, w: int) -> Tensor:
    """Coefficients by diagonals from DC on, as JPEG runs through them: positions u·w + v, (h·w,)."""
    cells = [(u, v) for u in range(h) for v in range(w)]
    cells.sort(key=lambda cell: (sum(cell), cell[0] if sum(cell) % 2 else -cell[0]))
    return torch.tensor([u * w + v for u, v in cells])


def band_energy(latents: Tensor, n_bands: int = 10, size: int = 16) -> Tensor:
    """Share of energy in each of `n_bands` runs of the zig-zag order: (b, c, h, w) → (n_bands,), sum 1.

    Latents are averaged down (or repeated up) to size × size cells. Runs differ in length by at most one coefficient.
    Source: the measured part of UAE's figure (arXiv 2512.19693); its published curve raises these shares to fitted
    powers, which is left out. Descriptive: no direction, no relation to generation known.
    """
    power = power_spectrum(adaptive_avg_pool2d(latents, size)).double().mean((0, 1)).flatten()
    bands = torch.stack([run.sum() for run in power[zigzag_order(size, size)].tensor_split(n_bands)])
    return bands / bands.sum()
