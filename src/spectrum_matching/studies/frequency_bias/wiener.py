"""The best linear denoiser of DCT coefficients, channels jointly: the Wiener filter of a data set's spectrum.

For x_t = α·x + σ·ε and coefficients of mean m and covariance S between channels, x̂ = m + G·(x_t − α·m) with
G = α·S·(α²·S + σ²)⁻¹. No denoiser is better on Gaussian data with independent coefficients; on other data it shows what
the spectrum alone allows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...diffusion import Denoiser, Path
from ...spectrum.dct import dct2, idct2


class CoefficientMoments(NamedTuple):
    """Statistics of DCT coefficients over a data set, float64. mean (c, h, w); covariance (h, w, c, c)."""

    mean: Tensor
    covariance: Tensor


def coefficient_moments(fields: Tensor, batch_size: int = 256) -> CoefficientMoments:
    """Return the moments of fields (n, c, h, w)."""
    batches = fields.split(batch_size)
    mean = torch.stack([dct2(batch).double().sum(0) for batch in batches]).sum(0) / len(fields)
    products = torch.zeros(*mean.shape[1:], len(mean), len(mean), dtype=torch.float64)
    for batch in batches:
        centred = dct2(batch).double() - mean
        products += torch.einsum("nihw,njhw->hwij", centred, centred)
    return CoefficientMoments(mean, products / len(fields))


def wiener_denoiser(moments: CoefficientMoments, path: Path) -> Denoiser:
    """Return the filter as a denoiser of `path`, for t > 0."""
    values, vectors = torch.linalg.eigh(moments.covariance)
    values = values.clamp_min(0)

    def predict(
        noisy: Tensor, t: Tensor, labels: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        along = path.coefficients(t.double().view(-1, 1, 1, 1))
        variances, basis, mean = (tensor.to(t.device) for tensor in (values, vectors, moments.mean))
        gains = along.alpha * variances / (along.alpha.square() * variances + along.sigma.square())
        centred = dct2(noisy.double()) - along.alpha * mean
        filtered = gains * torch.einsum("hwik,nihw->nhwk", basis, centred)
        data = idct2(torch.einsum("hwik,nhwk->nihw", basis, filtered) + mean)
        noise = (noisy.double() - along.alpha * data) / along.sigma
        return path.target(data, noise, t.double()).to(noisy.dtype), None

    return predict
