"""Improved precision and recall: the share of one set of features that lies on the manifold of the other."""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024
NEIGHBOURS = 3


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1. precision: of the images among the reference. recall: of the reference among the images."""

    precision: float
    recall: float


def precision_recall(features: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Of features (n, d) against (m, d), whose manifold is the balls to each one's k-th nearest neighbour.

    Both depend on n and m: compare equal numbers alone. ValueError for sets that have no k-th neighbour or features of
    different sizes. Source: Kynkäänniemi et al., Improved Precision and Recall (arXiv 1904.06991), k = 3.
    """
    if features.shape[1:] != reference.shape[1:] or features.ndim != 2:
        shapes = f"{tuple(features.shape)} and {tuple(reference.shape)}"
        raise ValueError(f"features {shapes} cannot be compared, expected (n, d), (m, d)")
    if min(len(features), len(reference)) <= neighbours:
        raise ValueError(
            f"{len(features)} and {len(reference)} images: each side needs more than the {neighbours} neighbours"
        )
    # Far from zero the expansion of a square would cost the digits that tell neighbours apart.
    origin = reference.double().mean(0)
    features, reference = features.double() - origin, reference.double() - origin
    return PrecisionRecall(
        float(_covered(features, reference, _radii(reference, neighbours)).double().mean()),
        float(_covered(reference, features, _radii(features, neighbours)).double().mean()),
    )


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT).clamp_min(0)


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """(n,): squared distance of each to its k-th nearest other."""
    found = []
    for start, rows in enumerate(features.split(CHUNK)):
        squared = _squared_distances(rows, features)
        squared[torch.arange(len(rows)), torch.arange(len(rows)) + start * CHUNK] = torch.inf
        found.append(squared.kthvalue(neighbours, dim=1).values)
    return torch.cat(found)


def _covered(queries: Tensor, features: Tensor, radii: Tensor) -> Tensor:
    """(n,) bool: whether a query lies in the ball of any feature."""
    return torch.cat([(_squared_distances(rows, features) <= radii).any(1) for rows in queries.split(CHUNK)])
