"""Whether images of one class are neighbours in latent space: latent neighbour consistency, and GSQ."""

from typing import Literal

import torch
from torch import Tensor

AT_ONCE = 1024
"""Images whose distances to all others are held at one time."""


def pool(latents: Tensor, masks: Tensor | None = None) -> Tensor:
    """Mean over cells, or over the foreground: (b, c, h, w), (b, h, w) bool → (b, c). An empty mask counts as full."""
    if masks is None:
        return latents.mean((-2, -1))
    weights = masks.flatten(1).to(latents)
    weights = torch.where(weights.any(1, keepdim=True), weights, 1)
    return (latents.flatten(2) * weights[:, None]).sum(-1) / weights.sum(1, keepdim=True)


def label_refusal(labels: Tensor) -> str:
    """Why neighbours of class ids (n,) mean nothing; empty where they do."""
    counts = labels.unique(return_counts=True)[1]
    if len(counts) < 2:
        return f"neighbours need at least 2 classes, got {len(counts)}"
    if counts.min() < 2:
        return f"{int((counts < 2).sum())} of {len(counts)} classes have one image; neighbours need at least 2 each"
    return ""


def chance_level(labels: Tensor) -> float:
    """What latents that know nothing of the classes (n,) give: (m − 1) / (n − 1) for classes of m images each."""
    counts = labels.unique(return_counts=True)[1].double()
    n = len(labels)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def neighbour_consistency(
    features: Tensor, labels: Tensor, k: int = 10, similarity: Literal["cosine", "l2"] = "cosine", centre: bool = True
) -> Tensor:
    """Share of each image's k nearest neighbours that have its label: (n, c), (n,) → (n,), in [0, 1]; higher is better.

    features: one vector an image, as of `pool`. centre: subtract their mean first, which matters to cosines. Source:
    LNC, Diffusing in the Right Space (arXiv 2606.03578); it states neither k (all images of a class, or 5 or 10) nor
    centring. Validated: |r| with gFID 0.67 to 0.79 within families of one shape, 0.37 to 0.69 under guidance. Classes
    of few images make it noise: compare `chance_level`. Tested against an independent float64 implementation.
    ValueError for fewer than 2 classes, a class of one image, or fewer than k other images.
    """
    refused = label_refusal(labels)
    if refused:
        raise ValueError(refused)
    if similarity not in ("cosine", "l2"):
        raise ValueError(f"similarity must be 'cosine' or 'l2', got {similarity!r}")
    if not 1 <= k < len(labels):
        raise ValueError(f"k must lie in 1 ... {len(labels) - 1} for {len(labels)} images, got {k}")
    features = features.double() - features.double().mean(0) if centre else features.double()
    if similarity == "cosine":
        features = features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    shares = []
    for start in range(0, len(features), AT_ONCE):
        rows = features[start : start + AT_ONCE]
        near = rows @ features.mT if similarity == "cosine" else -torch.cdist(rows, features)
        near[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -torch.inf
        same = labels[near.topk(k, dim=1).indices] == labels[start : start + AT_ONCE, None]
        shares.append(same.double().mean(1))
    return torch.cat(shares)


def gsq(features: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose nearest neighbour has their label, a row an image: (n, c), (n,) → (n,); higher is better.

    `neighbour_consistency` with one neighbour, centred cosine and no mask. Source: PAE (arXiv 2605.07915), on 100
    random classes of ImageNet. Validated: Spearman −0.74 with gFID over 8 variants of one model.
    """
    return neighbour_consistency(features, labels, 1)
