"""A method is a pair: named losses on the latents, and one transform shared by latents and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

    Latents = Float[Tensor, "b c h w"]
    Images = Float[Tensor, "b 3 H W"]

TensorMap = Callable[[Tensor], Tensor]
"""A sampled transform: (…, h, w) → (…, h', w'), for latents and for images of the same aspect ratio."""


class Posterior(Protocol):
    """An encoder's distribution over latents; diffusers' diagonal Gaussian satisfies it."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample latents (b, c, h, w)."""


class Codec(Protocol):
    """An autoencoder: images (b, 3, H, W) → posterior over latents (b, c, h, w), and latents → images."""

    def encode(self, images: Tensor) -> Posterior:
        """Return the posterior over latents (b, c, h, w) of images (b, 3, H, W)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (b, 3, H, W) of latents (b, c, h, w)."""


class EncodingLoss(Protocol):
    """A loss on the encoding side: posterior, latents (b, c, h, w), images (b, 3, H, W) → scalar."""

    def __call__(self, posterior: Posterior, latents: Latents, images: Images) -> Float[Tensor, ""]:
        """Return the loss, a scalar."""


class SharedTransform(Protocol):
    """A family of transforms. `draw` samples one that is legal on the latents' grid (h, w), or raises ValueError."""

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> TensorMap:
        """Sample a transform that is legal on a latent grid (h, w), or raise ValueError."""


@dataclass(frozen=True)
class Term:
    """A named, weighted encoding loss. With weight 0 it is not computed.

    balanced: at each step the weight is multiplied by the norm of the reconstruction losses' gradient over that of its
    own, at the encoder's last layer.
    """

    name: str
    loss: EncodingLoss
    weight: float
    balanced: bool = False


@dataclass(frozen=True)
class Method:
    """A named pair of encoding losses and shared transform, with its citation."""

    name: str
    terms: tuple[Term, ...]
    shared: SharedTransform
    citation: str

    def encoding_losses(self, posterior: Posterior, latents: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return the unweighted value of each term whose weight is not 0, by name."""
        return {t.name: t.loss(posterior, latents, images) for t in self.terms if t.weight}

    def weigh(self, losses: dict[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor | float:
        """Return the weighted sum of `encoding_losses`; `weights` by name override the terms' own."""
        return sum((weights or {}).get(t.name, t.weight) * losses[t.name] for t in self.terms if t.name in losses)


class Reconstruction(NamedTuple):
    """One pass through an autoencoder: `output` (b, 3, H', W') approximates `target`, which is transform(images)."""

    posterior: Posterior
    latents: Latents
    transform: TensorMap
    output: Float[Tensor, "b 3 u v"]
    target: Float[Tensor, "b 3 u v"]


def reconstruct(
    autoencoder: Codec, method: Method, images: Images, generator: torch.Generator, sample: bool = True
) -> Reconstruction:
    """Encode images (b, 3, H, W), sample one transform, decode the transformed latents; target: transformed images.

    generator: on the CPU, so that the same seed gives the same numbers on every device. sample: latents are a sample
    of the posterior, otherwise its mean.
    """
    posterior = autoencoder.encode(images)
    latents = posterior.sample(generator) if sample else posterior.mean
    h, w = latents.shape[-2:]
    transform = method.shared.draw(generator, grid=(h, w))
    output, target = autoencoder.decode(transform(latents)), transform(images)
    return Reconstruction(posterior, latents, transform, output, target)
