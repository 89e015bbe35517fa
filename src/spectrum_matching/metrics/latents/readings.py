"""From a sweep over latents to numbers, or to the reason why there is none."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ..estimates import jackknife, jackknife_number, jackknife_rows, mean_number, ratio_number
from .block_dct import block_profile, high_share
from .channels import cell_covariance, condition_number, effective_rank, participation_ratio, tails, top_share
from .concentration import white_concentration
from .irreducible_variance import irreducible_variance, rank_refusal, white_irreducible_variance
from .neighbours import chance_level, gsq, label_refusal, neighbour_consistency
from .sweep import LatentBatch, LatentSweep
from .tokens import cds, lds, lds_paper
from .white_noise import effective_rank_share

N_NEIGHBOURS = 10
LARGEST_CONDITION = 1e12


def concentrations(sweep: LatentSweep) -> dict[str, Measurement]:
    """SEC at both thresholds, with DC."""
    if min(sweep.grid) < 2:
        return dict.fromkeys(
            ("sec_25", "sec_50"), Measurement(None, refused=f"a {_size(sweep)} grid has no two-dimensional spectrum")
        )
    energy = sweep.rows("energy")
    return {
        "sec_25": ratio_number(sweep.rows("high_25"), energy, white_concentration(sweep.grid, 0.25)),
        "sec_50": ratio_number(sweep.rows("high_50"), energy, white_concentration(sweep.grid, 0.5)),
    }


def similarities(sweep: LatentSweep) -> dict[str, Measurement]:
    """LDS and CDS, standardised and raw."""
    grid, farthest = sweep.grid, sum(sweep.grid) - 2
    cosines, raw = sweep.rows("cosines"), sweep.rows("cosines_raw")
    far = round(3 / 8 * min(grid))
    too_small = Measurement(None, refused=f"a {_size(sweep)} grid has cells at distances up to {farthest} alone")
    numbers = {}
    numbers["lds_4n_far6"] = mean_number(lds(cosines, grid), 0.0) if farthest >= 6 else too_small
    if far not in (0, 1, 6):
        numbers["lds_far_3_8"] = mean_number(lds(cosines, grid, far), 0.0)
    numbers["lds_raw"] = mean_number(lds(raw, grid), 0.0) if farthest >= 6 else too_small
    numbers["lds_paper"] = mean_number(lds_paper(cosines, grid), 0.0) if min(grid) >= 4 else too_small
    numbers["cds_8"] = mean_number(cds(cosines), 0.0) if farthest >= 2 else too_small
    numbers["cds_raw"] = mean_number(cds(raw), 0.0) if farthest >= 2 else too_small
    return numbers


def correlations(sweep: LatentSweep) -> dict[str, Measurement]:
    """Of the channels within windows of 2 × 2 cells, and of adjacent cells within channels."""
    local = sweep.rows("local_correlation")
    if _n_live(sweep) < 2:
        correlation = Measurement(None, refused="a correlation across channels needs at least 2 channels that vary")
    elif not len(local):
        correlation = Measurement(None, refused=f"windows of 2 x 2 cells do not fill a {_size(sweep)} grid")
    else:
        correlation = mean_number(local, 0.0)
    return {"local_correlation": correlation, "neighbour_correlation": _adjacent(sweep)}


def _adjacent(sweep: LatentSweep) -> Measurement:
    if sweep.grid == (1, 1):
        return Measurement(None, refused="a 1 x 1 grid has no neighbours")
    n_cells = sweep.grid[0] * sweep.grid[1]
    # Other images would have been standardised by other deviations, which takes most of the error away.
    groups = sweep.groups["adjacent"], sweep.groups["powers"][..., 1] / n_cells, sweep.groups["images"]
    return jackknife_number(lambda products, squares, n: (products / squares).mean(), *groups, white=0.0)


def covariance(sweep: LatentSweep) -> tuple[Callable[..., Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Raw covariance of the cells' vectors over live channels, as a function of sums, and the sums by groups."""
    stds = sweep.moments.channel_stds[sweep.live]
    n_cells = sweep.grid[0] * sweep.grid[1]

    def estimate(products: Tensor, powers: Tensor, n: Tensor) -> Tensor:
        return cell_covariance(products, powers[:, 0], n * n_cells) * torch.outer(stds, stds)

    return estimate, (sweep.groups["products"], sweep.groups["powers"], sweep.groups["images"])


def eigenspectrum(sweep: LatentSweep) -> dict[str, Measurement]:
    """Participation ratio, share of the first axis, condition number; effective rank of the images' mean vectors."""
    keys, c = ("participation_ratio", "top1_share", "condition_number"), _n_live(sweep)
    if c < 2:
        reason = Measurement(None, refused="one channel that varies has one direction")
        return dict.fromkeys((*keys, "effective_rank"), reason)
    estimate, groups = covariance(sweep)

    def statistics(*sums: Tensor) -> Tensor:
        values = torch.linalg.eigvalsh(estimate(*sums))
        return torch.stack([participation_ratio(values), top_share(values), condition_number(values)])

    values, errors = jackknife(statistics, *groups)
    numbers = {}
    for i, (key, white) in enumerate(zip(keys, (float(c), 1 / c, 1.0), strict=True)):
        numbers[key] = Measurement(float(values[i]), None if errors is None else float(errors[i]), white)
    if not values[2] < LARGEST_CONDITION:
        numbers["condition_number"] = Measurement(None, refused="the channels depend on each other linearly")
    return numbers | {"effective_rank": _effective_rank(sweep.rows("pooled")[:, sweep.live])}


def _effective_rank(features: Tensor) -> Measurement:
    n, c = features.shape
    if n <= c:
        return Measurement(None, refused=f"{c} channels need more than {c} images, got {n}")
    if not (features.std(0) > 0).any():
        return Measurement(None, refused="the images' mean vectors are all the same")
    return jackknife_rows(effective_rank, features, effective_rank_share(c / (n - 1)))


def channel_tails(sweep: LatentSweep) -> tuple[Tensor, Tensor, Measurement]:
    """Skewness and excess kurtosis (c,) of each channel, NaN where it is dead, and the mean kurtosis of the others."""
    n_cells = sweep.grid[0] * sweep.grid[1]
    groups = sweep.groups["powers"], sweep.groups["images"]
    number = jackknife_number(lambda sums, n: tails(sums, n * n_cells)[1].mean(), *groups, white=0.0)
    spread = torch.full((2, len(sweep.live)), torch.nan, dtype=torch.float64)
    spread[:, sweep.live] = torch.stack(tails(groups[0].sum(0), groups[1].sum() * n_cells))
    return spread[0], spread[1], number


def block_dct(sweep: LatentSweep) -> tuple[Tensor, Tensor, dict[str, Measurement]]:
    """The profiles of standardised and of raw latents (64,), empty where there are none, and their upper halves."""
    keys = {"block_dct_high": "amplitudes", "block_dct_high_raw": "amplitudes_raw"}
    if min(sweep.grid) < 8:
        reason = Measurement(None, refused=f"a {_size(sweep)} grid has no block of 8 x 8 cells")
        return torch.empty(0), torch.empty(0), dict.fromkeys(keys, reason)
    profiles, numbers = [], {}
    for key, name in keys.items():
        sums = sweep.groups[name]
        profiles.append(block_profile(sums.sum(0)))
        if profiles[-1].isfinite().all():
            images = sweep.groups["images"]
            numbers[key] = jackknife_number(lambda a, n: high_share(block_profile(a)), sums, images, white=1.0)
        else:
            numbers[key] = Measurement(None, refused="a channel has no power in the blocks' means to compare with")
    return profiles[0], profiles[1], numbers


def neighbours(sweep: LatentSweep) -> dict[str, Measurement]:
    """LNC over foregrounds of standardised latents, GSQ over whole raw ones, with their chance level."""
    labelled = sweep.rows("labels") >= 0
    labels = sweep.rows("labels")[labelled]
    reason = label_refusal(labels) if len(labels) else "no labels"
    if reason:
        return dict.fromkeys(("lnc", "gsq"), Measurement(None, refused=reason))
    k = min(N_NEIGHBOURS, int(labels.unique(return_counts=True)[1].min()) - 1)
    chance = chance_level(labels)
    return {
        "lnc": mean_number(neighbour_consistency(sweep.rows("features")[labelled], labels, k), chance),
        "gsq": mean_number(gsq(sweep.rows("pooled")[labelled], labels), chance),
    }


def region_similarity(sweep: LatentSweep) -> Measurement:
    """SRSS over the images whose foreground neither fills nor misses the grid."""
    if not sweep.n_masks:
        return Measurement(None, refused="no masks")
    rows = sweep.rows("srss")
    rows = rows[rows.isfinite()]
    if not len(rows):
        return Measurement(None, refused="no mask has a quarter of the cells inside and a quarter outside")
    return mean_number(rows, 0.0)


def velocity_variance(batches: Callable[[], Iterable[LatentBatch]], sweep: LatentSweep, by_class: bool) -> Measurement:
    """VIV of the whole set, or of its classes, where there are images enough."""
    labels = sweep.rows("labels") if by_class else torch.zeros(sweep.n, dtype=torch.long)
    counts = labels[labels >= 0].unique(return_counts=True)[1].tolist()
    if not counts:
        return Measurement(None, refused="no labels")
    c, grid = _n_live(sweep), sweep.grid
    reason = rank_refusal(min(counts), c, grid)
    if reason:
        return Measurement(None, refused=f"the smallest class: {reason}" if by_class else reason)
    n_values = sweep.n * grid[0] * grid[1]
    sample = (1 - 1 / n_values) ** 0.5  # the source divides by n − 1

    def standardised() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches():
            classes = batch.labels.cpu() if by_class else torch.zeros(len(batch.labels), dtype=torch.long)
            yield sweep.standardised(batch.latents) * sample, classes

    white = sum(white_irreducible_variance(n, c, grid) for n in counts) / len(counts)
    found = irreducible_variance(standardised, fixed_energy=not by_class)
    return Measurement(found.mean, found.standard_error, white)


def _size(sweep: LatentSweep) -> str:
    return f"{sweep.grid[0]} x {sweep.grid[1]}"


def _n_live(sweep: LatentSweep) -> int:
    return int(sweep.live.sum())
