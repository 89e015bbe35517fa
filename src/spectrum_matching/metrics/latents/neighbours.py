"""Neighbourhoods of classes in latent space: latent neighbour consistency, GSQ, accuracy of nearest neighbours."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ...records.measurement import Measurement
from ...seeding import seeded
from ..estimates import estimate_class_mean, estimate_mean
from ..metric import NONE, PAE, RIGHT_SPACE, STANDARDISED, Metric
from .sweep import BatchRows, LatentMetric, LatentSweep, StandardisedBatch

LNC = Metric(
    key="lnc",
    title="latent neighbour consistency",
    unit="share",
    better="higher",
    range="chance level to 1",
    bounds=(0.0, 1.0),
    source=f"{RIGHT_SPACE}; it states neither the number of neighbours (all of a class, or 5 or 10) nor centring",
    evidence="|r| with gFID 0.67–0.79 within families of one shape, 0.37–0.69 under guidance; 0.99 with linear probing",
    conventions="10 neighbours, or all others of the smallest class; cosine of centred means over positions or "
    "foreground; images share neighbours, so the standard error is some quarter too small",
)
GSQ = replace(
    LNC,
    key="gsq",
    title="global semantic quality",
    source=f"{PAE}, on 100 random classes of ImageNet",
    evidence="Spearman −0.74 with gFID over 8 variants of one model, −0.61 without the one that was not regularised",
    conventions="one neighbour, cosine of centred means over positions, raw",
)
ACCURACY = replace(
    LNC,
    key="neighbour_accuracy",
    title="five nearest neighbours, accuracy",
    range="that of white noise, about 1/classes, to 1",
    source="Fix and Hodges, 1951; of pooled latents beside linear probes",
    evidence=NONE,
    conventions="majority of 5 neighbours among all other images, ties to the nearest; Euclidean distance of means "
    f"over positions; mean over classes; {STANDARDISED}",
)

N_NEIGHBOURS, N_VOTES = 10, 5
N_PERMUTATIONS = 20
"""Of the labels, for the accuracy that they would have by chance."""

BATCH_SIZE = 1024
"""Images whose similarities to all others are held at one time."""


def pool(latents: Tensor, masks: Tensor | None = None) -> Tensor:
    """Return the mean over positions, or over the foreground: (b, c, h, w), (b, h, w) bool → (b, c).

    An empty mask counts as full.
    """
    if masks is None:
        return latents.mean((-2, -1))
    weights = masks.flatten(1).to(latents)
    weights = torch.where(weights.any(1, keepdim=True), weights, 1)
    return (latents.flatten(2) * weights[:, None]).sum(-1) / weights.sum(1, keepdim=True)


def label_refusal(labels: Tensor, in_class: int = 2) -> str:
    """Return why class ids (n,) are too few to tell classes apart; empty where they are not.

    in_class: images that each class needs.
    """
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2:
        return f"at least 2 classes are needed, got {len(counts)}"
    if counts.min() < in_class:
        few = f"{int((counts < in_class).sum())} of {len(counts)} classes have fewer than {in_class} images"
        return f"{few}: measure more"
    return ""


def chance_level(labels: Tensor) -> float:
    """Return the consistency of latents independent of the classes (n,): (m − 1) / (n − 1) for m images a class."""
    counts = labels.unique(return_counts=True)[1].double()
    n = len(labels)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def neighbour_consistency(
    features: Tensor,
    labels: Tensor,
    k: int = N_NEIGHBOURS,
    similarity: Literal["cosine", "l2"] = "cosine",
    centre: bool = True,
) -> Tensor:
    """Return the share of each image's k nearest neighbours that have its label: (n, c), (n,) → (n,), in [0, 1].

    features: one vector an image, as of `pool`. centre: subtract their mean first, which matters to cosines. Classes of
    few images make it noise: compare with `chance_level`.

    Raises:
        ValueError: for fewer than 2 classes, a class of one image, or fewer than k other images.
    """
    refusal = label_refusal(labels)
    if refusal:
        raise ValueError(refusal)
    if similarity not in ("cosine", "l2"):
        raise ValueError(f"similarity must be 'cosine' or 'l2', got {similarity!r}")
    if not 1 <= k < len(labels):
        raise ValueError(f"k must lie in 1 ... {len(labels) - 1} for {len(labels)} images, got {k}")
    features = features.double() - features.double().mean(0) if centre else features.double()
    same = labels[nearest(features, k, similarity)] == labels[:, None]
    return same.double().mean(1)


def nearest(features: Tensor, k: int, similarity: Literal["cosine", "l2"]) -> Tensor:
    """Return the k other rows that are nearest to each, the nearest first: (n, c) → (n, k)."""
    if similarity == "cosine":
        features = features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    found = []
    for start in range(0, len(features), BATCH_SIZE):
        rows = features[start : start + BATCH_SIZE]
        near = rows @ features.mT if similarity == "cosine" else -torch.cdist(rows, features)
        near[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -torch.inf
        found.append(near.topk(k, dim=1).indices)
    return torch.cat(found)


def vote(labels: Tensor) -> Tensor:
    """Return the label that most of each row's neighbours, nearest first, have; ties to the nearest: (n, k) → (n,)."""
    votes = (labels[:, :, None] == labels[:, None]).sum(2)
    return labels.gather(1, votes.argmax(1, keepdim=True))[:, 0]  # argmax takes the first


def neighbour_accuracy(features: Tensor, labels: Tensor, k: int = N_VOTES) -> Measurement:
    """Return the share of images that the vote of their k nearest neighbours classifies rightly, mean over classes.

    features (n, c), labels (n,). white: the same where the labels are permuted.
    """
    near = nearest(features.double(), k, "l2")
    generator = seeded("neighbours")
    permuted = [labels[torch.randperm(len(labels), generator=generator)] for _ in range(N_PERMUTATIONS)]
    chance = [float(estimate_class_mean(vote(p[near]) == p, p)) for p in permuted]
    return estimate_class_mean(vote(labels[near]) == labels, labels, sum(chance) / len(chance))


def gsq(features: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image's nearest neighbour, by centred cosine, has its label: (n, c), (n,) → (n,)."""
    return neighbour_consistency(features, labels, 1)


def _collect(batch: StandardisedBatch) -> BatchRows:
    foreground = pool(batch.latents, batch.masks)
    rows = {"foreground_means": foreground, "raw_means": pool(batch.raw), "standardised_means": pool(batch.latents)}
    return BatchRows(rows)


def _numbers(sweep: LatentSweep) -> dict[str, Measurement]:
    labelled = sweep.rows("labels") >= 0
    labels = sweep.rows("labels")[labelled]
    refusal = label_refusal(labels) if len(labels) else "no labels"
    if refusal:
        return dict.fromkeys(("lnc", "gsq", "neighbour_accuracy"), Measurement(None, refused=refusal))
    k = min(N_NEIGHBOURS, int(labels.unique(return_counts=True)[1].min()) - 1)
    lnc = neighbour_consistency(sweep.rows("foreground_means")[labelled], labels, k)
    chance, too_few = chance_level(labels), label_refusal(labels, N_VOTES + 1)
    return {
        "lnc": estimate_mean(lnc, chance),
        "gsq": estimate_mean(gsq(sweep.rows("raw_means")[labelled], labels), chance),
        "neighbour_accuracy": Measurement(None, refused=too_few)
        if too_few
        else neighbour_accuracy(sweep.rows("standardised_means")[labelled], labels),
    }


NEIGHBOURS = LatentMetric((LNC, GSQ, ACCURACY), _numbers, _collect)
