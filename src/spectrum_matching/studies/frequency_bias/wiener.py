"""The best linear denoiser that treats each DCT coefficient by itself, all channels of it together.

x_t = α·x + σ·ε; for coefficients of mean m and covariance S between channels, x̂ = m + G·(x_t − α·m) with
G = α·S·(α²·S + σ²)⁻¹. For Gaussian data whose coefficients do not depend on each other no denoiser is better; of other
data it is what their spectrum alone allows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...diffusion.denoiser import Denoiser
from ...diffusion.path import Path
from ...spectrum.dct import dct2, idct2

N_AT_ONCE = 256


class Moments(NamedTuple):
    """Of DCT coefficients over a set. mean: (c, h, w); covariance: (h, w, c, c). float64."""

    mean: Tensor
    covariance: Tensor


def coefficient_moments(fields: Tensor, about: Tensor | None = None) -> Moments:
    """Of fields (n, c, h, w). about (c, h, w): what the covariance is taken about, in place of their own mean."""
    mean = torch.stack([dct2(part).double().sum(0) for part in fields.split(N_AT_ONCE)]).sum(0) / len(fields)
    centre = mean if about is None else about
    products = []
    for part in fields.split(N_AT_ONCE):
        centred = dct2(part).double() - centre
        products.append(torch.einsum("nihw,njhw->hwij", centred, centred))
    return Moments(mean, torch.stack(products).sum(0) / len(fields))


def wiener_gain(known: Moments, alpha: float, sigma: float) -> Tensor:
    """G, (h, w, c, c) float64; sigma above 0."""
    values, vectors = torch.linalg.eigh(known.covariance)
    values = values.clamp_min(0)
    gains = alpha * values / (alpha**2 * values + sigma**2)
    return torch.einsum("hwik,hwk,hwjk->hwij", vectors, gains, vectors)


def expected_errors(known: Moments, covariance: Tensor, alpha: float, sigma: float) -> Tensor:
    """E|x̂ − x|² over data and noise, summed over channels: (h, w), float64.

    The filter is that of `known`; covariance (h, w, c, c): of the data at hand, about the mean of `known`. By hand, for
    white data of unit variance on the linear path, t² / ((1 − t)² + t²) a channel.
    """
    gain = wiener_gain(known, alpha, sigma)
    rest = torch.eye(gain.shape[-1], dtype=gain.dtype) - alpha * gain
    of_data = torch.einsum("hwij,hwjk,hwik->hw", rest, covariance, rest)
    return of_data + sigma**2 * gain.square().sum((-2, -1))


def wiener_denoiser(known: Moments, path: Path) -> Denoiser:
    """The filter as a network: it answers what `path.prediction` asks for, t above 0, all t of a batch alike or not."""
    values, vectors = torch.linalg.eigh(known.covariance)
    values = values.clamp_min(0)

    def predict(
        noisy: Tensor, t: Tensor, labels: Tensor | None = None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        along = path.coefficients(t.double().view(-1, 1, 1, 1))
        gains = along.alpha * values.to(t.device) / (along.alpha.square() * values.to(t.device) + along.sigma.square())
        own, mean = vectors.to(t.device), known.mean.to(t.device)
        centred = dct2(noisy.double()) - along.alpha * mean
        turned = gains * torch.einsum("hwik,nihw->nhwk", own, centred)
        data = idct2(torch.einsum("hwik,nhwk->nihw", own, turned) + mean)
        noise = (noisy.double() - along.alpha * data) / along.sigma
        return path.target(data, noise, t.double()).to(noisy.dtype), None

    return predict
