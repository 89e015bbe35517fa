"""Values of estimates on white noise that depend on the number of images, by the Marchenko–Pastur law."""

import math

import torch
from torch import Tensor


def marchenko_pastur(aspect: float, n_nodes: int = 512) -> tuple[Tensor, Tensor]:
    """Return eigenvalues of a sample covariance of white noise, as nodes and weights of a quadrature: (n,), (n,).

    aspect: dimensions over samples, in 0 … 1. Source: Marchenko and Pastur, 1967.
    """
    angle = (torch.arange(n_nodes, dtype=torch.float64) + 0.5) * math.pi / n_nodes
    values = 1 + aspect + 2 * math.sqrt(aspect) * angle.cos()
    return values, 2 / n_nodes * angle.sin().square() / values


def mean_root(aspect: float) -> float:
    """Return the mean square root of the eigenvalues: 1 for many samples, less for few."""
    values, weights = marchenko_pastur(aspect)
    return float(values.sqrt() @ weights)


def effective_rank_share(aspect: float) -> float:
    """Return exp(entropy of the singular values' shares) over the number of dimensions: 1 for many samples."""
    values, weights = marchenko_pastur(aspect)
    singular = values.sqrt()
    mean = float(singular @ weights)
    return mean * math.exp(-float((singular * singular.log()) @ weights) / mean)
