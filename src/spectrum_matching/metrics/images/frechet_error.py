"""How far a Fréchet distance would move with other images, from one more eigenproblem instead of a bootstrap."""

import torch
from torch import Tensor

from .distances import FeatureStatistics


def frechet_influence(features: Tensor, images: FeatureStatistics, reference: FeatureStatistics) -> Tensor:
    """(n,): what each of features (n, d) adds to the distance of `images` to `reference`, to first order.

    The distance's gradient is 2(μ − μ_r) in the mean and 1 − T in the covariance, where T = R(Rᵀ Σ R)^(−½)Rᵀ with
    R Rᵀ = Σ_r transports one Gaussian to the other. The standard deviation over √n is the distance's standard error by
    the delta method; of images in pairs, that of the sum of both sides' influences. It says nothing of the bias.
    """
    centred = features.double() - images.mean
    values, vectors = torch.linalg.eigh(reference.covariance())
    root = vectors * values.clamp_min(0).sqrt()
    inner, turned = torch.linalg.eigh(root.mT @ images.covariance() @ root)
    some = inner > inner.abs().max() * len(inner) * torch.finfo(inner.dtype).eps
    half = (root @ turned)[:, some] * inner[some].pow(-0.25)
    along = 2 * centred @ (images.mean - reference.mean)
    return along + centred.square().sum(1) - (centred @ half).square().sum(1)


def enough_for_influence(n_images: int, n_features: int) -> bool:
    """Whether covariances are known well enough for the gradient to mean something."""
    return n_images >= 3 * n_features
