"""ADM's evaluator: Inception Score, Fréchet distance, precision and recall."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peers.checkouts import Checkouts
from peers.rows import Row, compared
from spectrum_matching.metrics.images.frechet import frechet_distance
from spectrum_matching.metrics.images.inception_score import inception_score, inception_sums
from spectrum_matching.metrics.images.statistics import RunningMoments

CLASSES, FEATURES = 1008, 32
NOTE = "TensorFlow's softmax of the logits is NumPy's here"


def rows(checkouts: Checkouts) -> list[Row]:
    """Compare all of this file."""
    torch.manual_seed(0)
    with checkouts.at("guided-diffusion/evaluations", absent=("tensorflow.compat.v1",)) as load:
        module = load("evaluator")
    return [*inception(module), frechet(module)]


def theirs_of(module: Any, logits: Tensor) -> float:
    """Return ADM's Inception Score of logits."""
    session = SimpleNamespace(run=lambda _, feed_dict: torch.tensor(next(iter(feed_dict.values()))).softmax(1).numpy())
    own = SimpleNamespace(sess=session, softmax=None, softmax_input="logits", softmax_batch_size=512)
    return module.Evaluator.compute_inception_score(own, logits.numpy())


def inception(module: Any) -> list[Row]:
    """Compare the score of one split, and say what splits spread over the set and shorter last splits change.

    The logits are of images sorted by class, or in a random order.
    """
    n = 12000
    centres = 4 * torch.randn(1000, CLASSES, dtype=torch.float64)
    logits = centres[torch.arange(n) * 1000 // n] + 2 * torch.randn(n, CLASSES, dtype=torch.float64)
    shuffled = logits[torch.randperm(n)]

    def ours(values: Tensor) -> float:
        return inception_score(inception_sums(values, torch.arange(len(values)))).value

    values = {
        f"{name}_{count}": {"ours": ours(kept), "theirs": theirs_of(module, kept)}
        for name, all_of in (("random", shuffled), ("sorted", logits))
        for count in (5000, 10000, 12000)
        for kept in (all_of[torch.arange(count) * n // count] if name == "sorted" else all_of[:count],)
    }
    one = [(values["random_5000"]["ours"], values["random_5000"]["theirs"])]
    return [
        compared("inception_score_split", "guided-diffusion", "Inception Score of one split of 5,000", one, NOTE),
        Row(
            "inception_score",
            "guided-diffusion",
            "Inception Score by order and number of images",
            values=values,
            note=NOTE,
        ),
    ]


def frechet(module: Any) -> Row:
    """Compare Fréchet distances of features."""
    pairs = []
    for n in (40, 400):
        sides = [scale * torch.randn(n, FEATURES, dtype=torch.float64) + shift for scale, shift in ((1, 0), (1.5, 0.3))]
        moments = [RunningMoments() for _ in sides]
        for each, features in zip(moments, sides, strict=True):
            each.add(features)
        theirs = [module.FIDStatistics(f.mean(0).numpy(), np.cov(f.numpy(), rowvar=False)) for f in sides]
        pairs.append((frechet_distance(*moments), theirs[0].frechet_distance(theirs[1])))
    return compared("frechet", "guided-diffusion", "Fréchet distance of features", pairs)
