"""A method is a pair: named losses on the latents, and one transform shared by latents and images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

TensorMap = Callable[[Tensor], Tensor]
"""A drawn move: (…, h, w) → (…, h', w'), for latents and for images of the same aspect."""


class Posterior(Protocol):
    """What an encoder says of the latents: diffusers' diagonal Gaussian fits as it is."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor: ...


class Codec(Protocol):
    """Encodes images (b, 3, H, W) to a posterior over latents (b, c, h, w), and decodes latents to images."""

    def encode(self, images: Tensor) -> Posterior: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class EncodingLoss(Protocol):
    """A loss on the encoding side: posterior, latents (b, c, h, w), images (b, 3, H, W) → scalar."""

    def __call__(self, posterior: Posterior, latents: Tensor, images: Tensor) -> Tensor: ...


class SharedTransform(Protocol):
    """A family of moves. `draw` takes the latents' grid (h, w) and offers moves legal on it, or raises ValueError."""

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> TensorMap: ...


@dataclass(frozen=True)
class Term:
    """A named, weighted encoding loss. With weight 0 it is not computed.

    balanced: at each step its weight is multiplied by how much larger the gradient of the reconstruction losses is than
    its own, at the encoder's last layer.
    """

    name: str
    loss: EncodingLoss
    weight: float
    balanced: bool = False


@dataclass(frozen=True)
class Method:
    """A named pair with its citation."""

    name: str
    terms: tuple[Term, ...]
    shared: SharedTransform
    citation: str

    def encoding_losses(self, posterior: Posterior, latents: Tensor, images: Tensor) -> dict[str, Tensor]:
        """The unweighted value of each term whose weight is not 0, by name."""
        return {t.name: t.loss(posterior, latents, images) for t in self.terms if t.weight}

    def weigh(self, losses: dict[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor | float:
        """The weighted sum of `encoding_losses`. weights: by name, where a term's own does not count."""
        return sum((weights or {}).get(t.name, t.weight) * losses[t.name] for t in self.terms if t.name in losses)


class Reconstruction(NamedTuple):
    """One pass through an autoencoder: `output` (b, 3, H', W') must become `target`, which is move(images)."""

    posterior: Posterior
    latents: Tensor
    move: TensorMap
    output: Tensor
    target: Tensor


def reconstruct(
    autoencoder: Codec, method: Method, images: Tensor, generator: torch.Generator, sample: bool = True
) -> Reconstruction:
    """Encode images (b, 3, H, W), draw one move, decode the moved latents beside the moved images.

    generator: on the CPU, so that the same seed gives the same numbers on every device. sample: latents are a sample
    of the posterior, otherwise its mean.
    """
    posterior = autoencoder.encode(images)
    latents = posterior.sample(generator) if sample else posterior.mean
    h, w = latents.shape[-2:]
    move = method.shared.draw(generator, grid=(h, w))
    return Reconstruction(posterior, latents, move, autoencoder.decode(move(latents)), move(images))
