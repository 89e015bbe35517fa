"""Features of images for tests, and their moments."""

import torch

from random_of_tests import white
from spectrum_matching.metrics.images.statistics import RunningMoments


def quarters(images):
    """Twelve numbers of an image: means of its quarters."""
    return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def features(seed, n, d):
    """Normal features, (n, d)."""
    return white(seed, (n, d))


def moments(rows, batch_size=64):
    """Moments of features that come in batches."""
    result = RunningMoments()
    for batch in rows.split(batch_size):
        result.add(batch)
    return result
