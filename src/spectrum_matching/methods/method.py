"""A method is a pair: named losses on the latents, and one transform shared by latents and images.

Two rows need more than one draw of the transform. A method may *add* a second pair: at every step the reconstruction
loss of transformed images from equally transformed latents, times a weight, beside the first pair's. And at the steps
whose shared transform is the identity, images may be transformed *before* they are encoded, which keeps an autoencoder
at home on other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from .shared_transforms import Identity, IdentityMap

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
    """An autoencoder: images (b, 3, H, W) → posterior over latents (b, c, H / factor, W / factor), and back."""

    factor: int

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
class Added:
    """A second pair: a shared transform of its own, sampled at every step, whose reconstruction loss is *added*.

    weight: of that loss, which is the trainer's reconstruction loss without its adversarial part. It costs a decoder
    pass more, on the transformed latents.
    """

    shared: SharedTransform
    weight: float


@dataclass(frozen=True)
class Draw:
    """The transforms of one step: of images before encoding, of latents and images, and of the added pair."""

    before: TensorMap
    shared: TensorMap
    added: TensorMap | None = None

    def __str__(self) -> str:
        """Name what is not the identity."""
        before = () if isinstance(self.before, IdentityMap) else (f"{self.before} before encoding",)
        return ", ".join((*before, str(self.shared), *(() if self.added is None else (f"added {self.added}",))))


@dataclass(frozen=True)
class Method:
    """A named pair of encoding losses and shared transform, with its citation.

    added: a second pair beside the first. before: transforms of images before they are encoded, sampled at the steps
    whose shared transform is the identity.
    """

    name: str
    terms: tuple[Term, ...]
    shared: SharedTransform
    citation: str
    added: Added | None = None
    before: SharedTransform = field(default_factory=Identity)

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> Draw:
        """Sample the transforms of one step, legal on the latent grid (h, w) of images that are not transformed.

        Raises:
            ValueError: where no transform is legal on the grid.
        """
        shared = self.shared.draw(generator, grid)
        before = self.before.draw(generator, grid)
        added = self.added.shared.draw(generator, grid) if self.added else None
        return Draw(before if isinstance(shared, IdentityMap) else IdentityMap(), shared, added)

    def encoding_losses(self, posterior: Posterior, latents: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return the unweighted value of each term whose weight is not 0, by name."""
        return {t.name: t.loss(posterior, latents, images) for t in self.terms if t.weight}

    def weigh(self, losses: dict[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor | float:
        """Return the weighted sum of `encoding_losses`; `weights` by name override the terms' own."""
        return sum((weights or {}).get(t.name, t.weight) * losses[t.name] for t in self.terms if t.name in losses)


class Decoded(NamedTuple):
    """`output` (b, 3, H', W'), decoded from transformed latents, approximates `target`, the transformed images."""

    output: Float[Tensor, "b 3 u v"]
    target: Float[Tensor, "b 3 u v"]


class Reconstruction(NamedTuple):
    """One pass through an autoencoder: `output` (b, 3, H', W') approximates `target`, which is draw.shared(images).

    images: as they were encoded. added: the second pair, for a method that has one.
    """

    posterior: Posterior
    latents: Latents
    images: Images
    draw: Draw
    output: Float[Tensor, "b 3 u v"]
    target: Float[Tensor, "b 3 u v"]
    added: Decoded | None


def reconstruct(
    autoencoder: Codec, method: Method, images: Images, generator: torch.Generator, sample: bool = True
) -> Reconstruction:
    """Sample transforms, encode images (b, 3, H, W), decode the transformed latents; target: the transformed images.

    generator: on the CPU, so that the same seed gives the same numbers on every device. sample: latents are a sample
    of the posterior, otherwise its mean.
    """
    height, width = images.shape[-2:]
    draw = method.draw(generator, grid=(height // autoencoder.factor, width // autoencoder.factor))
    images = draw.before(images)
    posterior = autoencoder.encode(images)
    latents = posterior.sample(generator) if sample else posterior.mean
    output, target = autoencoder.decode(draw.shared(latents)), draw.shared(images)
    added = None if draw.added is None else Decoded(autoencoder.decode(draw.added(latents)), draw.added(images))
    return Reconstruction(posterior, latents, images, draw, output, target, added)
