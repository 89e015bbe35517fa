"""Improved precision and recall: the share of one set of features that lies on the manifold of the other."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...records.measurement import Measurement
from .score import SetComparison, SetScore, score_metric

CHUNK = 1024
NEIGHBOURS = 3

MANIFOLD = "balls to the third neighbour in the features of at most 10,000 images a side; depends on their numbers"

PRECISION_METRIC = score_metric(
    key="precision",
    title="precision",
    unit="share",
    better="higher",
    range="0 to 1",
    bounds=(0.0, 1.0),
    one_sided=True,
    source="Kynkäänniemi et al. (arXiv 1904.06991)",
    conventions=f"{MANIFOLD}. Interval: over generated images, the manifold fixed",
)
RECALL_METRIC = replace(PRECISION_METRIC, key="recall", title="recall", conventions=MANIFOLD)


def precision_recall(features: Tensor, reference: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Return precision and recall of features (n, d) for a reference (m, d): shares, 0 to 1.

    Precision is of the images on the manifold of the reference, recall of the reference on that of the images. The
    manifold of a set is the union of balls around its features up to the k-th nearest neighbour. Both depend on n and
    m: compare only equal numbers. Source: Kynkäänniemi et al., Improved Precision and Recall (arXiv 1904.06991),
    k = 3.

    Raises:
        ValueError: for sets of k images or fewer, and for features of different sizes.
    """
    if features.shape[1:] != reference.shape[1:] or features.ndim != 2:
        shapes = f"{tuple(features.shape)} and {tuple(reference.shape)}"
        raise ValueError(f"features {shapes} cannot be compared, expected (n, d), (m, d)")
    if min(len(features), len(reference)) <= neighbours:
        raise ValueError(
            f"{len(features)} and {len(reference)} images: each side needs more than the {neighbours} neighbours"
        )
    # Far from zero the expansion of a square would lose the digits in which neighbours differ.
    origin = reference.double().mean(0)
    features, reference = features.double() - origin, reference.double() - origin
    return (
        float(_covered(features, reference, _radii(reference, neighbours)).double().mean()),
        float(_covered(reference, features, _radii(features, neighbours)).double().mean()),
    )


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT).clamp_min(0)


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """Return the squared distance of each vector to its k-th nearest other: (n,)."""
    radii = []
    for start, rows in enumerate(features.split(CHUNK)):
        squared = _squared_distances(rows, features)
        squared[torch.arange(len(rows)), torch.arange(len(rows)) + start * CHUNK] = torch.inf
        radii.append(squared.kthvalue(neighbours, dim=1).values)
    return torch.cat(radii)


def _covered(queries: Tensor, features: Tensor, radii: Tensor) -> Tensor:
    """Return whether each query lies in the ball of any feature: (n,) bool."""
    return torch.cat([(_squared_distances(rows, features) <= radii).any(1) for rows in queries.split(CHUNK)])


def _compare(comparison: SetComparison) -> Mapping[str, Measurement]:
    rows, reference = comparison.images.rows("features"), comparison.reference.rows("features")
    if rows is None:
        return {}
    if reference is None:
        return dict.fromkeys(("precision", "recall"), comparison.no_rows)
    if min(len(rows), len(reference)) <= NEIGHBOURS:
        refusal = f"{len(rows)} images and {len(reference)} of the reference have no third neighbour"
        return dict.fromkeys(("precision", "recall"), Measurement(None, refused=refusal))
    precision, recall = precision_recall(rows, reference)
    error = math.sqrt(precision * (1 - precision) / len(rows))
    return {"precision": Measurement(precision, error), "recall": Measurement(recall)}


PRECISION_RECALL = SetScore((PRECISION_METRIC, RECALL_METRIC), _compare)
