"""Data sets of the study at unit scale (tilted images, Gaussian fields, latents), and their best linear denoiser.

That is the Wiener filter of DCT coefficients, channels jointly. For x_t = α·x + σ·ε and coefficients of mean m and
covariance S between channels, x̂ = m + G·(x_t − α·m) with G = α·S·(α²·S + σ²)⁻¹. No denoiser is better on Gaussian data
with independent coefficients; on other data it shows what the spectrum alone allows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...diffusion import Denoiser, Path
from ...latent_space import LatentSpace
from ...nets.autoencoder import Autoencoder
from ...seeding import indexed_noise
from ...spectrum.dct import dct2, idct2
from ...spectrum.gain import apply_gain, dct_frequencies


class Fields(NamedTuple):
    """train (n, c, h, w), test (m, c, h, w): float32 on the CPU, mean 0 in each channel, unit variance over all."""

    train: Tensor
    test: Tensor


class CoefficientMoments(NamedTuple):
    """Statistics of DCT coefficients over a data set, float64. mean (c, h, w); covariance (h, w, c, c)."""

    mean: Tensor
    covariance: Tensor


def coefficient_moments(fields: Tensor) -> CoefficientMoments:
    """Return the moments of fields (n, c, h, w)."""
    batches = fields.split(256)  # so that memory is bounded
    mean = torch.stack([dct2(batch).double().sum(0) for batch in batches]).sum(0) / len(fields)
    products = torch.zeros(*mean.shape[1:], len(mean), len(mean), dtype=torch.float64)
    for batch in batches:
        centred = dct2(batch).double() - mean
        products += torch.einsum("nihw,njhw->hwij", centred, centred)
    return CoefficientMoments(mean, products / len(fields))


def coefficient_frequencies(h: int, w: int) -> Tensor:
    """Return √((u/2h)² + (v/2w)²) in cycles per sample: (h, w), float64. DC gets the lowest of the others."""
    frequencies = dct_frequencies(h, w)
    frequencies[0, 0] = frequencies.flatten()[1:].min() if h * w > 1 else 1.0
    return frequencies


def tilted(fields: Tensor, delta: float) -> Tensor:
    """Multiply every DCT coefficient by f^(delta/2), and so power by f^delta: (…, h, w) → (…, h, w).

    Signs are kept. delta 2 flattens a 1/f² spectrum; below 0 it steepens.
    """
    if delta == 0:
        return fields
    return apply_gain(fields, coefficient_frequencies(fields.shape[-2], fields.shape[-1]) ** (delta / 2))


def unit_scale(train: Tensor, test: Tensor) -> Fields:
    """Subtract the training data's channel means and divide by one standard deviation.

    Raises:
        ValueError: if the data are constant.
    """
    mean = train.double().mean((0, 2, 3))
    std = float((train.double() - mean.view(-1, 1, 1)).square().mean().sqrt())
    if not std > 1e-6:
        raise ValueError("the data do not vary: there is nothing to learn from them")
    space = LatentSpace("shift and scale", tuple(mean.tolist()), (std,))
    return Fields(space.to_unit(train), space.to_unit(test))


def gaussian_fields(n_train: int, n_test: int, shape: tuple[int, int, int], exponent: float) -> Fields:
    """Return fields of independent Gaussian coefficients of power 1/f^exponent in every channel."""
    amplitude = (coefficient_frequencies(*shape[1:]) ** (-exponent / 2)).float()

    def sample(n: int, split: str) -> Tensor:
        return idct2(indexed_noise((n, *shape), range(n), "gaussian field", split) * amplitude)

    return unit_scale(sample(n_train, "train"), sample(n_test, "held out"))


def gaussian_surrogates(n_train: int, n_test: int, moments: CoefficientMoments) -> Fields:
    """Return Gaussian surrogate data: the given mean and covariance of DCT coefficients, and no other structure.

    Linear filters, whose error depends on these moments alone, do not tell them from the original data.
    """
    values, vectors = torch.linalg.eigh(moments.covariance)
    root = (vectors * values.clamp_min(0).sqrt()[..., None, :]).float()
    shape = moments.mean.shape

    def sample(n: int, split: str) -> Tensor:
        white = indexed_noise(
            (n, *shape), range(n), "gaussian twin", split
        )  # words of the seed: others give other numbers
        return idct2(torch.einsum("hwij,njhw->nihw", root, white) + moments.mean.float())

    return unit_scale(sample(n_train, "train"), sample(n_test, "held out"))


@torch.no_grad()
def latent_fields(autoencoder: Autoencoder, train: Tensor, test: Tensor, device: torch.device) -> Fields:
    """Return posterior means of images (n, 3, h, w) in [−1, 1]."""

    def encode(images: Tensor) -> Tensor:
        batches = (autoencoder.encode(batch.to(device)).mean for batch in images.split(64))
        return torch.cat([latents.float().cpu() for latents in batches])

    return unit_scale(encode(train), encode(test))


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
