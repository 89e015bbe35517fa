"""What a denoiser of the study learns: images with their spectrum tilted, Gaussian fields, latents, at unit scale."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...metrics.decoder.noise import placed_noise
from ...nets.autoencoder import Autoencoder
from ...spectrum.dct import dct2, idct2
from .wiener import Moments

N_AT_ONCE = 64


class Fields(NamedTuple):
    """train (n, c, h, w), test (m, c, h, w): float32 on the CPU, of mean 0 in each channel and unit variance in all.

    restore: (b, c, h, w) → images (b, 3, H, W) in [−1, 1], unclamped; None where the fields are no images.
    """

    train: Tensor
    test: Tensor
    restore: Callable[[Tensor], Tensor] | None = None


def coefficient_frequencies(h: int, w: int) -> Tensor:
    """(h, w), cycles per sample, float64: √((u/2h)² + (v/2w)²); DC has the lowest of the others."""
    found = torch.hypot(
        torch.arange(h, dtype=torch.float64)[:, None] / (2 * h), torch.arange(w, dtype=torch.float64) / (2 * w)
    )
    found[0, 0] = found.flatten()[1:].min() if h * w > 1 else 1.0
    return found


def tilted(fields: Tensor, delta: float) -> Tensor:
    """Every DCT coefficient times f^(delta/2): power times f^delta, signs kept. (…, h, w) → (…, h, w).

    delta 2 makes a 1/f² spectrum flat; below 0 it steepens.
    """
    if delta == 0:
        return fields
    gain = coefficient_frequencies(fields.shape[-2], fields.shape[-1]) ** (delta / 2)
    return idct2(dct2(fields) * gain.to(fields))


def unit_scale(
    train: Tensor, test: Tensor, restore: Callable[[Tensor], Tensor] | None = None, what: str = "the data"
) -> Fields:
    """The training data's mean of each channel taken off, then divided by one standard deviation.

    restore: of the data as they are given. ValueError where they do not vary.
    """
    mean = train.double().mean((0, 2, 3))
    std = float((train.double() - mean.view(-1, 1, 1)).square().mean().sqrt())
    if not std > 1e-6:
        raise ValueError(f"{what} do not vary: there is nothing to learn from them")
    space = LatentSpace("shift and scale", tuple(mean.tolist()), (std,))
    seen = None if restore is None else _after(space.denormalise, restore)
    return Fields(space.normalise(train), space.normalise(test), seen)


def tilted_images(train: Tensor, test: Tensor, delta: float) -> Fields:
    """Images (n, 3, h, w) in [−1, 1] as `tilted` makes them; restored, they are the images again."""
    return unit_scale(tilted(train, delta), tilted(test, delta), lambda fields: tilted(fields, -delta), "the images")


def gaussian_fields(n_train: int, n_test: int, shape: tuple[int, int, int], exponent: float) -> Fields:
    """Fields of independent Gaussian coefficients of expected power 1/f^exponent, alike in all channels."""
    amplitude = coefficient_frequencies(*shape[1:]) ** (-exponent / 2)

    def drawn(n: int, split: str) -> Tensor:
        return idct2(placed_noise((n, *shape), 0, "gaussian field", split) * amplitude.float())

    return unit_scale(drawn(n_train, "train"), drawn(n_test, "held out"))


def gaussian_twins(n_train: int, n_test: int, moments: Moments) -> Fields:
    """Fields of Gaussian coefficients with the mean and the covariance between channels of others' coefficients.

    No linear filter can tell them from those others: what is left out is all that their spectrum does not say.
    """
    values, vectors = torch.linalg.eigh(moments.covariance)
    root = vectors * values.clamp_min(0).sqrt()[..., None, :]
    shape = moments.mean.shape

    def drawn(n: int, split: str) -> Tensor:
        white = placed_noise((n, *shape), 0, "gaussian twin", split)
        return idct2(torch.einsum("hwij,njhw->nihw", root.float(), white) + moments.mean.float())

    return unit_scale(drawn(n_train, "train"), drawn(n_test, "held out"))


@torch.no_grad()
def latent_fields(
    autoencoder: Autoencoder, train: Tensor, test: Tensor, device: torch.device, advance: Callable[[int], None]
) -> Fields:
    """Posterior means of images (n, 3, h, w) in [−1, 1]. advance: called with the number of images encoded since.

    ValueError where the images do not fit the autoencoder, or its latents do not vary.
    """

    def encoded(images: Tensor) -> Iterable[Tensor]:
        for batch in images.split(N_AT_ONCE):
            yield autoencoder.encode(batch.to(device)).mean.float().cpu()
            advance(len(batch))

    return unit_scale(torch.cat([*encoded(train)]), torch.cat([*encoded(test)]), what="the latents")


def _after(first: Callable[[Tensor], Tensor], then: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda fields: then(first(fields))
