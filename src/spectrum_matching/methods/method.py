"""A method is a pair: named losses on the latents, and one transform shared by latents and images.

Two rows need more than one draw of the transform. A method may *add* a second pair: at every step the reconstruction
loss of transformed images from equally transformed latents, times a weight, beside the first pair's. And at the steps
whose shared transform is the identity, images may be transformed *before* they are encoded, which keeps an autoencoder
at home on other sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .models import Gaussian, images_of, posterior_of, require_autoencoder, within_forward
from .shapes import Grid, require_generator, require_number, require_tensor
from .shared_transforms import Identity, IdentityMap

if TYPE_CHECKING:
    from jaxtyping import Float

    Latents = Float[Tensor, "b *latent"]
    Images = Float[Tensor, "b *image"]

MOST = 1e8
"""The largest ratio by which a balanced term is weighted."""
TensorMap = Callable[[Tensor], Tensor]
"""A sampled transform: (b, c, h, w) → (b, c, h', w'), for latents and for images of the same aspect ratio."""


class Posterior(Protocol):
    """An encoder's distribution over latents; diffusers' diagonal Gaussian satisfies it."""

    @property
    def mean(self) -> Tensor:
        """The mean, of the latents' shape."""

    @property
    def logvar(self) -> Tensor:
        """The logarithm of the variance, of the latents' shape."""

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample latents (b, c, h, w)."""


class EncodingLoss(Protocol):
    """A loss on the encoding side: posterior, latents (b, c, h, w), images (b, 3, H, W) → scalar."""

    def __call__(self, posterior: Posterior, latents: Latents, images: Images) -> Float[Tensor, ""]:
        """Return the loss, a scalar."""


class SharedTransform(Protocol):
    """A family of transforms. `draw` samples one that is legal on the latents' grid (h, w), or raises ValueError."""

    def draw(self, generator: torch.Generator, grid: Grid) -> TensorMap:
        """Sample a transform that is legal on a latent grid (h, w), or raise ValueError."""


@dataclass(frozen=True)
class Term:
    """A named, weighted encoding loss. With weight 0 it is not computed.

    balanced: at each step the weight is multiplied by the norm of the reconstruction losses' gradient over that of its
    own, at the encoder's last layer (`balance`).
    """

    name: str
    loss: EncodingLoss
    weight: float
    balanced: bool = False

    def __post_init__(self) -> None:
        require_number(weight=self.weight)


@dataclass(frozen=True)
class Added:
    """A second pair: a shared transform of its own, sampled at every step, whose reconstruction loss is *added*.

    weight: of that loss, which is the trainer's reconstruction loss without its adversarial part. It costs a decoder
    pass more, on the transformed latents.
    """

    shared: SharedTransform
    weight: float

    def __post_init__(self) -> None:
        require_number(weight=self.weight)


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

    Raises:
        ValueError: for two terms of one name.
    """

    name: str
    terms: tuple[Term, ...]
    shared: SharedTransform
    citation: str
    added: Added | None = None
    before: SharedTransform = field(default_factory=Identity)

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ValueError(f"terms are named {', '.join(names)}: give each a name of its own")

    def draw(self, generator: torch.Generator, grid: Grid) -> Draw:
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
        """Return the weighted sum of `encoding_losses`; `weights` by name override the terms' own.

        Raises:
            ValueError: for a balanced term without a weight of this step.
        """
        weights = weights or {}
        terms = [term for term in self.terms if term.name in losses]
        if missing := [term.name for term in terms if term.balanced and term.name not in weights]:
            given = "method.weigh(losses, balance(method, losses, reconstruction, layer))"
            raise ValueError(f"{self.name} balances {', '.join(missing)} at each step: call {given}")
        return sum(weights.get(term.name, term.weight) * losses[term.name] for term in terms)


def balance(method: Method, losses: Mapping[str, Tensor], reconstruction: Tensor, layer: Tensor) -> dict[str, Tensor]:
    """Return the weight of each balanced term at this step, by name, for `Method.weigh`; {} where none is balanced.

    losses: as `Method.encoding_losses` returns them. reconstruction: the sum of the reconstruction losses, a scalar.
    layer: the weight of the encoder's last layer. Source: VA-VAE (arXiv 2501.01423).
    """
    balanced = [term for term in method.terms if term.balanced and term.name in losses]
    if not balanced:
        return {}

    def norm(loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, layer, retain_graph=True)
        length: Tensor = gradient.norm()
        return length

    reference = norm(reconstruction)
    return {term.name: term.weight * gradient_ratio(reference, norm(losses[term.name]), MOST) for term in balanced}


def gradient_ratio(reconstruction: Tensor, other: Tensor, most: float) -> Tensor:
    """Return the ratio of two norms of gradients, `most` at the most; NaN where one is not finite.

    A gradient that overflows at fp16's loss scale would otherwise give a weight of 0 or `most`, and the step be taken.
    """
    is_finite = reconstruction.isfinite() & other.isfinite()
    return (reconstruction / (other + 1e-4)).clamp(0, most).where(is_finite, torch.nan)


class Decoded(NamedTuple):
    """`output` (b, 3, H', W'), decoded from transformed latents, approximates `target`, the transformed images."""

    output: Images
    target: Images


class Reconstruction(NamedTuple):
    """One pass through an autoencoder: `output` (b, 3, H', W') approximates `target`, which is draw.shared(images).

    images: as they were encoded. encoded: what the autoencoder's `encode` returned, with a VQ loss, if there is one.
    added: the second pair, for a method that has one.
    """

    posterior: Posterior
    latents: Latents
    images: Images
    draw: Draw
    output: Images
    target: Images
    added: Decoded | None
    encoded: Any


def reconstruct(
    autoencoder: Any, method: Method, images: Images, generator: torch.Generator, sample: bool = True
) -> Reconstruction:
    """Sample transforms, encode images (b, 3, H, W), decode the transformed latents; target: the transformed images.

    autoencoder: any object with `encode` and `decode`, such as a model of diffusers, whose outputs `posterior_of` and
    `images_of` read. Compiled, or within DistributedDataParallel, it runs as the wrapper's forward pass, which is what
    averages gradients. Images are in its own range. Where it has a `factor`, from latent to image side, images are
    encoded once; without, a method that transforms images before it encodes them encodes those twice.

    generator: on the CPU, so that the same seed gives the same numbers on every device. sample: latents are a sample
    of the posterior, otherwise its mean.

    Raises:
        ValueError: for outputs that are not read, images that the decoder returns in another shape, or no method,
            tensor or generator.
    """
    if not isinstance(method, Method):
        raise ValueError(f"method is {method!r}: expected a Method, such as zoo.dsm() returns")
    require_tensor(images)
    require_generator(generator)

    def run(model: Any, images: Images) -> Reconstruction:
        require_autoencoder(model)
        decode, encoding = partial(_decode, model), None
        if isinstance(factor := getattr(model, "factor", None), int):
            grid = tuple(n // factor for n in _grid(images))
        else:
            encoding = _encode(model, images)
            grid = _grid(encoding[1].mean)
        draw = method.draw(generator, grid)
        before = draw.before(images)
        if encoding is None or before is not images:
            encoding = _encode(model, before)
        encoded, posterior = encoding
        latents = posterior.sample(generator) if sample else posterior.mean
        output, target = decode(draw.shared, latents, before)
        added = None if draw.added is None else decode(draw.added, latents, before)
        return Reconstruction(posterior, latents, before, draw, output, target, added, encoded)

    return within_forward(autoencoder, run, images)


def _encode(model: Any, images: Tensor) -> tuple[Any, Gaussian]:
    encoded = model.encode(images)
    return encoded, posterior_of(encoded, f"{type(model).__name__}.encode")


def _decode(model: Any, transform: TensorMap, latents: Tensor, images: Tensor) -> Decoded:
    name, target = f"{type(model).__name__}.decode", transform(images)
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), latents.dtype)
    output = images_of(model.decode(transform(latents).to(dtype)), name)
    if output.shape != target.shape:
        raise ValueError(f"{name} gave images {tuple(output.shape)}, expected {tuple(target.shape)}")
    return Decoded(output, target)


def _grid(x: Tensor) -> Grid:
    """Return (h, w) of (b, c, h, w), with frames or without; (n,) of sequences (b, c, n)."""
    return tuple(x.shape[2:][-2:])
