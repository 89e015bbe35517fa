"""Transforms shared by latents and images: decoding transformed latents must give the transformed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor

from ..spectrum.block_lowpass import block_lowpass
from ..spectrum.filters import resize

if TYPE_CHECKING:
    from jaxtyping import Float

T = TypeVar("T")
Interpolation = Literal["bilinear", "bicubic"]


def _choose(generator: torch.Generator, options: Sequence[T]) -> T:
    return options[int(torch.randint(len(options), (), generator=generator, device=generator.device))]


@dataclass(frozen=True)
class IdentityMap:
    """The map that changes nothing."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


@dataclass(frozen=True)
class Identity:
    """No transform: plain reconstruction."""

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> IdentityMap:
        """Return the identity."""
        return IdentityMap()


@dataclass(frozen=True)
class Lowpass:
    """A low-pass on block DCT, as in `block_lowpass`: (…, h, w) → (…, h, w)."""

    keep: int
    block: int

    def __call__(self, x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
        """Zero every coefficient with u + v ≥ keep in each block."""
        return block_lowpass(x, self.keep, self.block)


@dataclass(frozen=True)
class SpectralMask:
    """Decoding spectrum matching (DSM): a block low-pass with `keep` sampled uniformly.

    keep: diagonals kept in each block × block DCT, 1 … 2·block − 1 (everything). A block counts samples of the grid it
    is applied to, so the cut-off relative to the Nyquist frequency is the same for latents and images. `draw` raises
    ValueError unless the grid divides into blocks. Source: Spectrum Matching (arXiv 2603.14645); its n = 0, 8, 10, 12
    are 15, 7, 5, 3.
    """

    keep: tuple[int, ...] = (15, 7, 5, 3)
    block: int = 8

    def __post_init__(self) -> None:
        last = 2 * self.block - 1
        if not self.keep or not all(1 <= keep <= last for keep in self.keep):
            raise ValueError(f"every keep must lie in 1 ... {last} for block {self.block}, got {self.keep}")

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> Lowpass:
        """Sample a low-pass for a latent grid (h, w)."""
        if grid[0] % self.block or grid[1] % self.block:
            what = f"a {grid[0]} x {grid[1]} latent grid does not divide into blocks of {self.block}"
            raise ValueError(f"{what}; choose a block that divides it or another image size")
        return Lowpass(_choose(generator, self.keep), self.block)


@dataclass(frozen=True)
class ScaleTurn:
    """Scale by numerator / denominator, then rotate by quarter turns: (…, h, w) → (…, h', w').

    antialias: widen the interpolation's kernel when shrinking. Without it, as in the published code, frequencies above
    the new Nyquist frequency fold back: white noise keeps a variance of 0.25 at half the size, not 0.17.
    """

    numerator: int
    denominator: int
    turns: int = 0
    interpolation: Interpolation = "bilinear"
    antialias: bool = False

    def __call__(self, x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch u v"]:
        """Scale, then rotate."""
        h, w = (n * self.numerator // self.denominator for n in x.shape[-2:])
        return resize(x, (h, w), self.interpolation, self.antialias).rot90(self.turns, (-2, -1))


def _legal(grid: tuple[int, int], numerator: int, denominator: int) -> bool:
    return all(n * numerator % denominator == 0 for n in grid)


@dataclass(frozen=True)
class Downscale:
    """Scale Equivariance: downscale by a factor sampled uniformly from those that divide the grid.

    `draw` raises ValueError where no factor above 1 does. Interpolation as in `ScaleTurn`. Source: Improving the
    Diffusability of Autoencoders (arXiv 2502.14831).
    """

    factors: tuple[int, ...] = (2, 3, 4)
    interpolation: Interpolation = "bilinear"
    antialias: bool = False

    def __post_init__(self) -> None:
        if not self.factors or min(self.factors) < 1:
            raise ValueError(f"expected factors of at least 1, got {self.factors}")

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> ScaleTurn:
        """Sample a downscaling for a latent grid (h, w)."""
        legal = [factor for factor in self.factors if _legal(grid, 1, factor)]
        if max(legal, default=1) == 1 < max(self.factors):
            raise ValueError(f"no factor of {self.factors} above 1 divides a {grid[0]} x {grid[1]} latent grid")
        return ScaleTurn(1, _choose(generator, legal), 0, self.interpolation, self.antialias)


@dataclass(frozen=True)
class ScaleRotate:
    """EQ-VAE: with the given probability, a uniformly sampled scale and number of quarter turns; else the identity.

    scales: numerators over `denominator`; only those that scale the grid to whole numbers are sampled. `draw` raises
    ValueError where there are none. Interpolation as in `ScaleTurn`: EQ-VAE's code has the default, its paper says
    bicubic. Source: EQ-VAE (arXiv 2502.09509).
    """

    scales: tuple[int, ...] = tuple(range(8, 32))
    denominator: int = 32
    turns: tuple[int, ...] = (1, 2, 3)
    probability: float = 0.5
    interpolation: Interpolation = "bilinear"
    antialias: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {self.probability}")
        if not self.turns or not self.scales or min(self.scales) < 1 or self.denominator < 1:
            got = f"scales {self.scales} over denominator {self.denominator} and turns {self.turns}"
            raise ValueError(f"expected positive scales and some turns, got {got}")

    def draw(self, generator: torch.Generator, grid: tuple[int, int]) -> ScaleTurn | IdentityMap:
        """Sample a scaling with rotation, or the identity, for a latent grid (h, w)."""
        legal = [scale for scale in self.scales if _legal(grid, scale, self.denominator)]
        if not legal:
            what = f"a {grid[0]} x {grid[1]} latent grid"
            raise ValueError(f"no scale n / {self.denominator} scales {what} to whole numbers")
        # Sample both either way, so that the probability does not shift later random numbers.
        chance = float(torch.rand((), generator=generator, device=generator.device))
        scale, turns = _choose(generator, legal), _choose(generator, self.turns)
        transform = ScaleTurn(scale, self.denominator, turns, self.interpolation, self.antialias)
        return transform if chance < self.probability else IdentityMap()
