"""The interface that `Autoencoder` needs of a model: calls, results, and eval mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from torch import Tensor, nn

from ...latent_space import LatentSpace
from ...methods.method import Term

LOGVAR_OF_CERTAINTY = -30.0
UNDECLARED = LatentSpace()


@dataclass(frozen=True)
class Adapter:
    """`encode(model, images)` and `decode(model, latents)`, with the sizes and ranges that they expect.

    image_range: of the images that the model takes and returns. factor: from latent to image side. multiple: the sides
    of images are multiples of it. size: the only side that the model takes, if there is one. is_stochastic: whether
    latents have a variance. latent_space: the declared scale of latents. declare(model, latent_space): writes it into
    the model, for its own format, as far as that has a place for it. fixed_encoder: why the encoder is never trained,
    if it is not. terms: the losses on its latents that belong to the model.
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
    declare: Callable[[Any, LatentSpace], None] = lambda model, latent_space: None
    fixed_encoder: str = ""
    terms: tuple[Term, ...] = ()


def posterior_of(encoded: Any) -> Posterior:
    """Return an encoder's output as a Gaussian in float32 or wider; a time axis of one frame is dropped.

    The output is a distribution, alone or under `latent_dist`; an object with `mean` and `logvar`, which is broadcast
    to the mean; or latents, alone or under `latent` or `latents`, whose posterior has logvar -30 and samples its mean.

    Raises:
        TypeError: for anything else.
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
    """Return a posterior without variance: its samples are its mean."""
    return _gaussian(torch.cat([latents, torch.full_like(latents, LOGVAR_OF_CERTAINTY)], dim=1), deterministic=True)


def images_of(decoded: Any) -> Tensor:
    """Return a decoder's output, or its `sample`, as images; a time axis of one frame is dropped.

    Raises:
        TypeError: if that is no tensor.
    """
    images = decoded if isinstance(decoded, Tensor) else getattr(decoded, "sample", None)
    if not isinstance(images, Tensor):
        raise TypeError(type(decoded).__name__)
    return _still(images)


def _gaussian(moments: Tensor, deterministic: bool = False) -> Posterior:
    # Moments in bf16 (under autocast) would cost the samples, the KL and the spectra their digits.
    return Posterior(_still(moments).to(torch.promote_types(moments.dtype, torch.float32)), deterministic)


def _still(x: Tensor) -> Tensor:
    return x[:, :, 0] if x.ndim == 5 and x.shape[2] == 1 else x


@contextmanager
def eval_mode(
    autoencoder: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None = None, *, seed: int = 0
) -> Iterator[torch.device]:
    """Run inference in eval mode, on the device that is yielded; restore training modes and random state at the end.

    device, dtype: where and how the network runs, and stays; None leaves them as they are.
    """
    autoencoder.to(device=device, dtype=dtype)
    weight = next(autoencoder.parameters(), None)
    on = torch.device(device or "cpu") if weight is None else weight.device
    modes = {module: module.training for module in autoencoder.modules()}
    autoencoder.eval()
    try:
        # A user's encoder may draw from the global generator.
        with torch.random.fork_rng([on] if on.type == "cuda" else []), torch.inference_mode():
            torch.manual_seed(seed)
            yield on
    finally:
        for module, mode in modes.items():
            module.training = mode
