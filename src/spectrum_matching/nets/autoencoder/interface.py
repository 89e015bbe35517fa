"""What the adapter knows of a model: how it is called, what goes in and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from torch import Tensor

from ...latent_space import LatentSpace

LOGVAR_OF_CERTAINTY = -30.0
UNDECLARED = LatentSpace()


@dataclass(frozen=True)
class Calling:
    """`encode(model, images)` and `decode(model, latents)`, and the sizes and ranges that they keep to.

    image_range: of the model's own images, going in and coming out. multiple: of which image sides are; size: the only
    side that it takes, if there is but one. is_stochastic: whether a latent has a variance. The two factors are those
    of a declaration with one value for all channels, and else 1 and 0.
    """

    encode: Callable[[Any, Tensor], Posterior]
    decode: Callable[[Any, Tensor], Tensor]
    factor: int
    channels: int
    multiple: int
    is_stochastic: bool
    image_range: tuple[float, float] = (-1.0, 1.0)
    size: int | None = None
    latent_space: LatentSpace = UNDECLARED
    scaling_factor: float = 1.0
    shift_factor: float = 0.0


def posterior_of(encoded: Any) -> Posterior:
    """What an encoder returned, as a Gaussian in float32 or wider; a time axis of one frame is dropped.

    A logvar is broadcast to its mean. A tensor, or one under `latent` or `latents`, is certain: its logvar is -30 and
    its samples are its mean. TypeError for what holds neither that nor a `latent_dist` nor `mean` and `logvar`.
    """
    encoded = getattr(encoded, "latent_dist", encoded)
    if isinstance(encoded, Posterior):
        return certain(encoded.mean) if encoded.deterministic else _gaussian(encoded.parameters)
    if not isinstance(encoded, Tensor):
        mean, logvar = (getattr(encoded, name, None) for name in ("mean", "logvar"))
        if isinstance(mean, Tensor) and isinstance(logvar, Tensor):
            try:
                logvar = logvar.expand_as(mean)
            except RuntimeError:
                raise TypeError(f"a mean of {tuple(mean.shape)} with a logvar of {tuple(logvar.shape)}") from None
            return _gaussian(torch.cat([mean, logvar], dim=1))
        encoded = getattr(encoded, "latent", getattr(encoded, "latents", encoded))
    if not isinstance(encoded, Tensor) or not encoded.is_floating_point():
        raise TypeError(str(encoded.dtype) if isinstance(encoded, Tensor) else type(encoded).__name__)
    return certain(encoded)


def certain(latents: Tensor) -> Posterior:
    """A posterior without variance."""
    return _gaussian(torch.cat([latents, torch.full_like(latents, LOGVAR_OF_CERTAINTY)], dim=1), deterministic=True)


def images_of(decoded: Any) -> Tensor:
    """What a decoder returned, or its `sample`; a time axis of one frame is dropped. TypeError for anything else."""
    images = decoded if isinstance(decoded, Tensor) else getattr(decoded, "sample", None)
    if not isinstance(images, Tensor):
        raise TypeError(type(decoded).__name__)
    return _still(images)


def _gaussian(moments: Tensor, deterministic: bool = False) -> Posterior:
    # Moments in bf16 (under autocast) would cost the samples, the KL and the spectra their digits.
    return Posterior(_still(moments).to(torch.promote_types(moments.dtype, torch.float32)), deterministic)


def _still(x: Tensor) -> Tensor:
    return x[:, :, 0] if x.ndim == 5 and x.shape[2] == 1 else x
