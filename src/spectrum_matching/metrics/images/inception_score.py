"""The Inception Score: how sure a classifier is of each image, and how many classes it sees in all."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

SPLIT = 5000


class InceptionScore(NamedTuple):
    """Mean over splits, their standard deviation (0 for one split), and how many there were."""

    value: float
    deviation: float
    n_splits: int


class InceptionSums:
    """Sums over images of class probabilities and of their negative entropy, in splits of consecutive images."""

    def __init__(self, split: int = SPLIT) -> None:
        self._split = split
        self.sums: dict[int, Tensor] = {}

    def add(self, logits: Tensor, indices: Tensor) -> None:
        """Logits (b, classes) of the images with these numbers (b,)."""
        logs = logits.detach().cpu().double().log_softmax(1)
        probabilities = logs.exp()
        rows = torch.cat([torch.ones(len(logs), 1), (probabilities * logs).sum(1, keepdim=True), probabilities], 1)
        for split in (indices // self._split).unique().tolist():
            self._include(split, rows[indices // self._split == split].sum(0))

    def merge(self, other: Self) -> Self:
        """Count in what another one has counted."""
        for split, sums in other.sums.items():
            self._include(split, sums)
        return self

    def _include(self, split: int, sums: Tensor) -> None:
        self.sums[split] = self.sums[split] + sums if split in self.sums else sums.clone()

    def score(self) -> InceptionScore:
        """exp of the mean KL divergence of an image's classes from all images' classes, from 1 to the classes.

        A last split of under half the size of the first has no part unless it is the only one. Source: Salimans et al.
        (arXiv 1606.03498); splits of 5,000 as in ADM (arXiv 2105.05233). ValueError where nothing was counted.
        """
        if not self.sums:
            raise ValueError("no logits to score")
        counts = {split: float(sums[0]) for split, sums in self.sums.items()}
        whole = [split for split in sorted(counts) if counts[split] >= max(counts.values()) / 2]
        scores = []
        for split in whole:
            mean = self.sums[split][1:] / self.sums[split][0]
            scores.append((mean[0] - torch.xlogy(mean[1:], mean[1:]).sum()).exp())
        found = torch.stack(scores)
        return InceptionScore(float(found.mean()), float(found.std()) if len(found) > 1 else 0.0, len(found))
