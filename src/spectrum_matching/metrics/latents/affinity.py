"""Affinity of latents to a vision encoder: VA-VAE's two gaps between its tokens and linearly mapped latents."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...methods.feature_match import feature_gap, features_on_grid
from ...records.measurement import Measurement
from ...seeding import seeded
from ...spectrum.contrast import unit_tokens
from ..estimates import estimate_mean
from ..metric import STANDARDISED, Metric, Published
from .sweep import LatentMetric, LatentSweep

GAP = Metric(
    key="affinity_gap",
    title="gap to a vision encoder",
    unit="cosine",
    better="lower",
    range="0 to 3.25",
    bounds=(0.0, 3.25),
    one_sided=True,
    source="VA-VAE (arXiv 2501.01423), its loss: the sum of the two gaps below",
    across=Published(0.58, (0.25, 0.77), 21, "its own protocol, which it does not state"),
    conventions="as the two gaps below; means nothing without the encoder",
)
DIRECTION = replace(
    GAP,
    key="affinity_gap_direction",
    title="gap to a vision encoder, directions of tokens",
    range="0 to 1.5",
    bounds=(0.0, 1.5),
    source="VA-VAE (arXiv 2501.01423), marginal cosine similarity loss",
    across=None,
    conventions="margin 0.5; tokens on the latents' grid against latents mapped linearly, without bias: a ridge fit to "
    f"the images of other folds, of ten, where VA-VAE trains the map; {STANDARDISED}",
)
DISTANCE = replace(
    DIRECTION,
    key="affinity_gap_distance",
    title="gap to a vision encoder, distances of tokens",
    range="0 to 1.75",
    bounds=(0.0, 1.75),
    source="VA-VAE (arXiv 2501.01423), marginal distance matrix similarity loss",
    conventions="margin 0.25, cosines of all pairs of tokens of an image; mapped as for directions",
)

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Latents (b, c, h, w) and the encoder's tokens as fields (b, d, h', w'), in one order; the same on each call."""

N_FOLDS = 10
RIDGE = 1e-3
"""Share of the latents' mean square that is added to it."""

MIN_IMAGES = 100
"""On CIFAR-10, gaps fell by 11 to 21 % from 30 to 120 images, and by 7 % at most from 120 to 400."""
N_NOISE = 100
"""Images whose latents are replaced by noise, for the value on white noise."""


def affinity_gaps(batches: Batches) -> Tensor:
    """Return both gaps of each image, mapped as fitted to the images of the other folds: (n, 2), directions first.

    A map is the least squares solution from latents, of channels at one scale, to unit tokens, with a slight ridge.
    """
    maps = fold_maps(batches)
    gaps, n = [], 0
    for latents, features in batches():
        for z, field in zip(latents.float().split(1), features.split(1), strict=True):
            gaps.append(map_gaps(z, field, maps[n % N_FOLDS].float()))
            n += 1
    return torch.stack(gaps).double()


def fold_maps(batches: Batches) -> Tensor:
    """Return for each fold the map (d, c) fitted to all images but the fold's, those n, n + folds, …: (folds, d, c)."""
    scatter, cross = Tensor(), Tensor()
    n = 0
    for latents, features in batches():
        h, w = latents.shape[-2:]
        for z, field in zip(latents.double().split(1), features.split(1), strict=True):
            tokens = unit_tokens(features_on_grid(field, (h, w)))[0].flatten(1).to(z)
            z = z[0].flatten(1)
            if not n:
                scatter, cross = (z.new_zeros(N_FOLDS, len(x), len(z)) for x in (z, tokens))
            scatter[n % N_FOLDS] += z @ z.mT
            cross[n % N_FOLDS] += tokens @ z.mT
            n += 1
    scatter, cross = (folds.sum(0) - folds for folds in (scatter, cross))
    ridge = RIDGE * scatter.diagonal(dim1=1, dim2=2).mean(1)
    scatter += ridge[:, None, None] * torch.eye(scatter.shape[-1]).to(scatter)
    return torch.linalg.solve(scatter, cross.mT).mT


def map_gaps(latents: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Return the mean gaps between mapped latents and features: (b, c, h, w), (b, d, h', w') → (2,), directions first.

    weight (d, c). Features are resampled to the latents' grid.
    """
    h, w = latents.shape[-2:]
    mapped = F.conv2d(latents, weight[:, :, None, None])
    return torch.stack(feature_gap(mapped, features_on_grid(features, (h, w)).to(mapped)))


def _pairs(sweep: LatentSweep) -> Iterator[tuple[Tensor, Tensor]]:
    return ((batch.latents, batch.features) for batch in sweep.read() if batch.features is not None)


def _noise(sweep: LatentSweep) -> Iterator[tuple[Tensor, Tensor]]:
    """Read white noise in place of the first latents, with their features."""
    n, generator = 0, seeded("affinity")
    for latents, features in _pairs(sweep):
        features = features[: N_NOISE - n]
        n += len(features)
        yield torch.randn(len(features), *latents.shape[1:], generator=generator), features
        if n == N_NOISE:
            return


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    keys = ("affinity_gap", "affinity_gap_direction", "affinity_gap_distance")
    if not sweep.has_features:
        return {}
    if sweep.n < MIN_IMAGES:
        refusal = f"{sweep.n} images are too few to fit a map and try it on others: it needs {MIN_IMAGES}"
        return dict.fromkeys(keys, Measurement(None, refused=refusal))
    gaps, white = affinity_gaps(lambda: _pairs(sweep)), affinity_gaps(lambda: _noise(sweep)).mean(0)
    columns = torch.cat([gaps.sum(1, keepdim=True), gaps], 1).mT, (float(white.sum()), *white.tolist())
    return {key: estimate_mean(rows, value) for key, rows, value in zip(keys, *columns, strict=True)}


AFFINITY = LatentMetric((GAP, DIRECTION, DISTANCE), _numbers)
