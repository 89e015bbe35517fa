"""Data sets of the study at unit scale: images with a tilted spectrum, Gaussian fields, latents."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...nets.autoencoder import Autoencoder
from ...seeding import indexed_noise
from ...spectrum.dct import dct2, idct2
from .wiener import CoefficientMoments


class Fields(NamedTuple):
    """train (n, c, h, w), test (m, c, h, w): float32 on the CPU, mean 0 in each channel, unit variance over all."""

    train: Tensor
    test: Tensor


def coefficient_frequencies(h: int, w: int) -> Tensor:
    """Return √((u/2h)² + (v/2w)²) in cycles per sample: (h, w), float64. DC gets the lowest of the others."""
    frequencies = torch.hypot(
        torch.arange(h, dtype=torch.float64)[:, None] / (2 * h), torch.arange(w, dtype=torch.float64) / (2 * w)
    )
    frequencies[0, 0] = frequencies.flatten()[1:].min() if h * w > 1 else 1.0
    return frequencies


def tilted(fields: Tensor, delta: float) -> Tensor:
    """Multiply every DCT coefficient by f^(delta/2), and so power by f^delta: (…, h, w) → (…, h, w).

    Signs are kept. delta 2 flattens a 1/f² spectrum; below 0 it steepens.
    """
    if delta == 0:
        return fields
    gain = coefficient_frequencies(fields.shape[-2], fields.shape[-1]) ** (delta / 2)
    return idct2(dct2(fields) * gain.to(fields))


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
    return Fields(space.normalise(train), space.normalise(test))


def gaussian_fields(n_train: int, n_test: int, shape: tuple[int, int, int], exponent: float) -> Fields:
    """Return fields of independent Gaussian coefficients of power 1/f^exponent in every channel."""
    amplitude = (coefficient_frequencies(*shape[1:]) ** (-exponent / 2)).float()

    def sample(n: int, split: str) -> Tensor:
        return idct2(indexed_noise((n, *shape), 0, "gaussian field", split) * amplitude)

    return unit_scale(sample(n_train, "train"), sample(n_test, "held out"))


def gaussian_surrogates(n_train: int, n_test: int, moments: CoefficientMoments) -> Fields:
    """Return Gaussian surrogate data: the given mean and covariance of DCT coefficients, and no other structure.

    Linear filters, whose error depends on these moments alone, do not tell them from the original data.
    """
    values, vectors = torch.linalg.eigh(moments.covariance)
    root = (vectors * values.clamp_min(0).sqrt()[..., None, :]).float()
    shape = moments.mean.shape

    def sample(n: int, split: str) -> Tensor:
        white = indexed_noise((n, *shape), 0, "gaussian twin", split)  # words of the seed: others give other numbers
        return idct2(torch.einsum("hwij,njhw->nihw", root, white) + moments.mean.float())

    return unit_scale(sample(n_train, "train"), sample(n_test, "held out"))


@torch.no_grad()
def latent_fields(autoencoder: Autoencoder, train: Tensor, test: Tensor, device: torch.device) -> Fields:
    """Return posterior means of images (n, 3, h, w) in [−1, 1]."""

    def encode(images: Tensor) -> Tensor:
        batches = (autoencoder.encode(batch.to(device)).mean for batch in images.split(64))
        return torch.cat([latents.float().cpu() for latents in batches])

    return unit_scale(encode(train), encode(test))
