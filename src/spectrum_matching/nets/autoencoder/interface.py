"""The interface that `Autoencoder` needs of a model: calls, results, and eval mode."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...latent_space import LatentSpace
from ...methods.method import Term
from ...methods.models import Gaussian

UNDECLARED = LatentSpace()


@dataclass(frozen=True)
class Adapter:
    """`encode(model, images)` and `decode(model, latents)`, with the sizes and ranges that they expect.

    image_range: of the images that the model takes and returns. factor: from latent to image side. multiple: the sides
    of images are multiples of it. size: the only side that the model takes, if there is one. is_stochastic: whether
    latents have a variance. latent_space: the declared scale of latents. declare(model, latent_space): writes it into
    the model, for its own format, as far as that has a place for it. declaration(model, latent_space): what that does,
    as a line of configuration or code. is_read_alike: whether the model has this scale outside its pipeline too.
    fixed_encoder: why the encoder is never trained, if it is not. terms: the losses on its latents that belong to the
    model. image_channels: 3 for RGB. single: it takes one image at a time. untiled: why its tiles save no memory, if it
    has tiles that do not.
    """

    encode: Callable[[Any, Tensor], Gaussian]
    decode: Callable[[Any, Tensor], Tensor]
    factor: int
    channels: int
    multiple: int
    is_stochastic: bool
    image_range: tuple[float, float] = (-1.0, 1.0)
    size: int | None = None
    latent_space: LatentSpace = UNDECLARED
    declare: Callable[[Any, LatentSpace], None] = lambda model, latent_space: None
    declaration: Callable[[Any, LatentSpace], str] = lambda model, latent_space: ""
    is_read_alike: bool = True
    fixed_encoder: str = ""
    terms: tuple[Term, ...] = ()
    image_channels: int = 3
    single: bool = False
    untiled: str = ""


def still_posterior(posterior: Gaussian) -> Gaussian:
    """Drop a time axis of one frame."""
    own = posterior.own
    sample = None if own is None else lambda generator: still(own(generator))
    return replace(posterior, mean=still(posterior.mean), logvar=still(posterior.logvar), own=sample)


def still(x: Tensor) -> Tensor:
    """Drop a time axis of one frame."""
    return x[:, :, 0] if x.ndim == 5 and x.shape[2] == 1 else x


def tile_side(model: Any) -> int | None:
    """Return the side in pixels of a model's tiles, the shorter one; None where it has none, or not of a known kind."""
    sides = (getattr(model, f"tile_sample_min_{name}", None) for name in ("size", "height", "width"))
    return min((side for side in sides if isinstance(side, int)), default=None)


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
