"""Cosine similarity of positions: over their distance (LDS, CDS) and of all of them (RMS spatial contrast)."""

from dataclasses import replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...spectrum.contrast import rmsc, unit_tokens
from ..estimates import estimate_mean
from ..metric import IREPA, RIGHT_SPACE, SPECTRUM_MATCHING, STANDARDISED, Metric, Published
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

LDS = Metric(
    key="lds_4n_far6",
    title="local against distant similarity",
    unit="cosine",
    better="higher",
    range="−2 to 2; 0.35–0.78 for published 16 × 16 latents",
    bounds=(-2.0, 2.0),
    one_sided=True,
    source=f"{IREPA}, its code; on latents {RIGHT_SPACE}",
    evidence="|r| with gFID 0.85 within one family of 22 tokenizers of one shape",
    across=Published(0.50, (-0.05, 0.83), 17, "the second of the board's two"),
    conventions=f"adjacent positions against those 6 or more apart, whatever the grid; {STANDARDISED}",
)
CDS = Metric(
    key="cds_8",
    title="correlation decay slope",
    unit="cosine per position",
    better="higher",
    range="about −0.1 to 0.15; 0.04–0.12 for published 16 × 16 latents",
    bounds=(-2.0, 2.0),
    one_sided=True,
    source=f"{IREPA}, its code; the text leaves the largest distance open",
    evidence="|r| with gFID 0.85 over 27 encoders as alignment targets; on latents not singled out, mostly repeats LDS",
    across=Published(0.14, (-0.27, 0.56), 21),
    conventions=f"minus the least squares slope over Manhattan distances 1 … 8, the code's maximum; {STANDARDISED}",
)

RMSC = Metric(
    key="rmsc",
    title="RMS spatial contrast",
    range="0 to 1; √(1 − 1/positions) for white noise, so noise is at the top",
    bounds=(0.0, 1.0),
    source=f"{IREPA}; as directional energy {SPECTRUM_MATCHING}",
    evidence="|r| with gFID 0.89 over 27 encoders as alignment targets; says little of latents, which all sit near 1",
    conventions="raw latents, unit tokens of one position, square root taken",
)
DIRECTIONAL = replace(
    RMSC,
    key="directional_energy",
    title="directional spectral energy",
    range="0 to 1; 1 − 1/positions for white noise",
    source=SPECTRUM_MATCHING,
    conventions="raw latents, unit tokens of one position; power beyond DC, the square of the RMS spatial contrast",
)


def _distances(h: int, w: int) -> Tensor:
    """Return the Manhattan length of each lag of a (2h, 2w) circular correlation; lags h and w do not occur."""
    rows, columns = torch.arange(2 * h), torch.arange(2 * w)
    return torch.minimum(rows, 2 * h - rows)[:, None] + torch.minimum(columns, 2 * w - columns)


def _sums_by_distance(field: Tensor) -> Tensor:
    """Sum inner products of all ordered pairs of positions by Manhattan distance: (b, c, h, w) → (b, h + w − 1)."""
    h, w = field.shape[-2:]
    # Zero padding to twice the size makes the circular correlation the plain one, at T log T and not T² products.
    spectrum = torch.fft.rfft2(field, s=(2 * h, 2 * w))
    products = torch.fft.irfft2((spectrum.real.square() + spectrum.imag.square()).sum(1), s=(2 * h, 2 * w))
    sums = torch.zeros(len(field), h + w + 1, dtype=products.dtype, device=field.device)
    sums.index_add_(1, _distances(h, w).flatten().to(field.device), products.flatten(1))
    return sums[:, : h + w - 1]


def pair_counts(grid: tuple[int, int]) -> Tensor:
    """Return the number of ordered pairs of positions at each Manhattan distance 0 … h + w − 2: (h + w − 1,)."""
    return _sums_by_distance(torch.ones(1, 1, *grid, dtype=torch.float64))[0].round()


def distance_cosines(latents: Tensor) -> Tensor:
    """Return the mean cosine of positions at each Manhattan distance 0 … h + w − 2: (b, c, h, w) → (b, h + w − 1)."""
    sums = _sums_by_distance(unit_tokens(latents))
    h, w = latents.shape[-2:]
    return sums / pair_counts((h, w)).to(sums)


def lds(cosines: Tensor, grid: tuple[int, int], far: int = 6) -> Tensor:
    """Return the mean cosine of adjacent positions minus that of positions `far` or more apart, in −2 … 2.

    cosines (…, h + w − 1) of `distance_cosines` → (…). The authors' code has `far` = 6 on 16 × 16; 3/8 of the height is
    the same share of other grids.

    Raises:
        ValueError: when no two positions are that far apart.
    """
    if far >= cosines.shape[-1]:
        raise ValueError(f"a {grid[0]} x {grid[1]} grid has no two positions {far} or more apart")
    weights = pair_counts(grid).to(cosines)[far:]
    return cosines[..., 1] - cosines[..., far:] @ weights / weights.sum()


def cds(cosines: Tensor, max_distance: int = 8) -> Tensor:
    """Return minus the slope of the least squares line through the cosines at distances 1 … max, per position.

    cosines (…, h + w − 1) of `distance_cosines` → (…). Distances that the grid lacks are left out.

    Raises:
        ValueError: when fewer than two distances are left.
    """
    y = cosines[..., 1 : max_distance + 1]
    if y.shape[-1] < 2:
        raise ValueError(f"a slope needs cosines at two distances or more, got {y.shape[-1]}")
    x = torch.arange(y.shape[-1]).to(cosines)
    x = x - x.mean()
    return -(y @ x) / x.square().sum()


def mean_cosines(sweep: LatentSweep) -> Tensor:
    """Return `distance_cosines` of standardised latents, mean over images: (h + w − 1,)."""
    return sweep.rows("cosines").mean(0)


def _collect(batch: StandardisedBatch) -> BatchRows:
    return BatchRows({"cosines": distance_cosines(batch.latents), "rmsc": rmsc(batch.raw)})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    cosines, contrast, farthest = sweep.rows("cosines"), sweep.rows("rmsc"), sum(sweep.grid) - 2
    too_small = Measurement(None, refused=f"a {sweep.size} grid has no two positions more than {farthest} apart")
    return {
        "lds_4n_far6": estimate_mean(lds(cosines, sweep.grid), 0.0) if farthest >= 6 else too_small,
        "cds_8": estimate_mean(cds(cosines), 0.0) if farthest >= 2 else too_small,
        "rmsc": estimate_mean(contrast),
        "directional_energy": estimate_mean(contrast.square()),
    }


SIMILARITY = LatentMetric((LDS, CDS, RMSC, DIRECTIONAL), _numbers, _collect)
