"""Correlation of adjacent positions: across channels within windows, and across space within channels."""

from torch import Tensor

from ...records.measurement import Measurement
from ...spectrum.block_lowpass import split_blocks
from ..estimates import estimate_mean, jackknife_scalar
from ..metric import NONE, STANDARDISED, Metric
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

LOCAL = Metric(
    key="local_correlation",
    title="local correlation",
    unit="correlation",
    better="higher",
    range="−1 to 1; above 0.75 no gain is claimed",
    bounds=(-1.0, 1.0),
    one_sided=True,
    source="SSVAE (arXiv 2512.05394), its training penalty",
    evidence=NONE + " as a metric",
    conventions=f"across channels, positions of one 2 × 2 window, each centred across channels; {STANDARDISED}",
)
NEIGHBOUR = Metric(
    key="neighbour_correlation",
    title="correlation of adjacent positions",
    unit="correlation",
    range="−1 to 1",
    bounds=(-1.0, 1.0),
    one_sided=True,
    source="this package",
    conventions=f"across space, channel by channel, mean over channels; {STANDARDISED}",
)


def local_correlation(latents: Tensor, window: int = 2) -> Tensor:
    """Return the mean correlation, across channels, of the positions of one window: (b, c, h, w) → (b,), in [−1, 1].

    Windows of window × window positions do not overlap. Each position is centred across channels and scaled to unit
    length; all pairs within a window have equal weight. One channel always gives 0, two give ±1 for each pair, and a
    component that all channels share does not count.

    Raises:
        ValueError: unless windows fill the grid.
    """
    centred = latents - latents.mean(1, keepdim=True)
    tokens = centred / (centred.norm(dim=1, keepdim=True) + 1e-8)
    positions = split_blocks(tokens, window).flatten(-2)
    n = window**2
    pairs = (positions.sum(-1).square() - positions.square().sum(-1)) / (n * (n - 1))
    return pairs.sum(1).mean((-2, -1))


def neighbour_correlation(latents: Tensor) -> Tensor:
    """Return the mean product of horizontally and vertically adjacent positions: standardised (b, c, h, w) → (b, c).

    Averaged over images, the spatial correlation of each channel at a distance of one position, in [−1, 1].

    Raises:
        ValueError: for a single position.
    """
    h, w = latents.shape[-2:]
    if h * w < 2:
        raise ValueError("a 1 x 1 grid has no neighbours")
    across = (latents[..., 1:] * latents[..., :-1]).sum((-2, -1))
    down = (latents[..., 1:, :] * latents[..., :-1, :]).sum((-2, -1))
    return (across + down) / (h * (w - 1) + w * (h - 1))


def _collect(batch: StandardisedBatch) -> BatchRows:
    h, w = batch.latents.shape[-2:]
    rows = {} if h % 2 or w % 2 else {"local_correlation": local_correlation(batch.latents)}
    if h * w < 2:
        return BatchRows(rows)
    squares = batch.latents.square().mean((-2, -1))
    return BatchRows(rows, {"adjacent_products": neighbour_correlation(batch.latents), "squares": squares})


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    rows = sweep.rows("local_correlation")
    if sweep.n_live < 2:
        local = Measurement(None, refused="a correlation across channels needs at least 2 channels that vary")
    elif not len(rows):
        local = Measurement(None, refused=f"windows of 2 x 2 positions do not fill a {sweep.size} grid")
    else:
        local = estimate_mean(rows, 0.0)
    return {"local_correlation": local, "neighbour_correlation": _neighbours(sweep)}


def _neighbours(sweep: LatentSweep) -> Measurement:
    if sweep.n_positions < 2:
        return Measurement(None, refused="a 1 x 1 grid has no neighbours")
    # Other images would have been standardised by other deviations, which takes most of the error away.
    groups = sweep.sums("adjacent_products", "squares")
    return jackknife_scalar(lambda products, squares, n: (products / squares).mean(), *groups, white=0.0)


LOCAL_CORRELATION = LatentMetric((LOCAL, NEIGHBOUR), _numbers, _collect)
