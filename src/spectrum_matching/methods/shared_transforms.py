"""Transforms shared by latents and images: decoding transformed latents must give the transformed images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch
from torch import Tensor

from ..spectrum.block_lowpass import block_lowpass, sequence_lowpass
from ..spectrum.filters import resize
from .shapes import (
    Grid,
    require_field,
    require_generator,
    require_number,
    require_plane,
    require_sequences,
    require_whole,
    require_wholes,
)

T = TypeVar("T")
Interpolation = Literal["bilinear", "bicubic"]


def _choose(generator: torch.Generator, options: Sequence[T]) -> T:
    require_generator(generator)
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

    def draw(self, generator: torch.Generator, grid: Grid) -> IdentityMap:
        """Return the identity."""
        return IdentityMap()


@dataclass(frozen=True)
class Lowpass:
    """A low-pass on block DCT, as in `block_lowpass`, of latents on `grid` and of their images.

    (b, c, h, w) → (b, c, h, w). ValueError for any other plane than the grid's, or a whole multiple of it.
    """

    keep: int
    block: int
    grid: Grid | None = field(default=None, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        """Zero every coefficient with u + v ≥ keep in each block."""
        require_field(x, self.grid)
        return block_lowpass(x, self.keep, self.block)


@dataclass(frozen=True)
class SequenceLowpass:
    """A low-pass on one-dimensional block DCT along an axis, as in `sequence_lowpass`: (b, c, n) or (b, n, d) → same.

    ValueError for other shapes: along one axis of an image it would be no low-pass of the image.
    """

    keep: int
    block: int
    axis: int

    def __call__(self, x: Tensor) -> Tensor:
        """Zero every coefficient u ≥ keep in each block."""
        require_sequences(x, self.axis)
        return sequence_lowpass(x, self.keep, self.block, self.axis)


def published_keep(block: int, axis: int | None = None) -> tuple[int, ...]:
    """Return the published strengths of DSM, 15, 7, 5, 3 at block 8, for any block, each once.

    Everything stays everything, and the others keep as large a part of the block's side, rounded down. axis: as in
    `SpectralMask`.
    """
    last = 2 * block - 1 if axis is None else block
    return tuple(dict.fromkeys((last, *(min(max(k * block // 8, 1), last) for k in (7, 5, 3)))))


@dataclass(frozen=True)
class SpectralMask:
    """Decoding spectrum matching (DSM): a block low-pass with `keep` sampled uniformly.

    keep: diagonals kept in each block × block DCT, 1 … 2·block − 1 (everything); by default those of `published_keep`,
    which `keep` then holds. A block counts samples of the grid it is applied to, so the cut-off relative to the Nyquist
    frequency is the same for latents and images. `draw` raises ValueError unless the grid divides into blocks. Source:
    Spectrum Matching (arXiv 2603.14645); its n = 0, 8, 10, 12 are 15, 7, 5, 3.

    axis: of sequences, latents (b, c, n) or (b, n, d) and their signals: that along which they are low-passed by a
    one-dimensional DCT, of which coefficients 0 … keep − 1 stay; keep is then 1 … block. The grid is not used.
    """

    keep: tuple[int, ...] | None = None
    block: int = 8
    axis: int | None = None

    def __post_init__(self) -> None:
        require_whole(block=self.block)
        if self.block < 1:
            raise ValueError(f"block {self.block} is too small: give 1 or more")
        published = published_keep(self.block, self.axis)
        keep = published if self.keep is None else self.keep
        require_wholes(keep=keep)
        if not keep or not all(1 <= each <= published[0] for each in keep):
            what = f"block {self.block}" if self.axis is None else f"block {self.block} along one axis"
            raise ValueError(f"every keep must lie in 1 ... {published[0]} for {what}, got {keep}; leave keep out")
        object.__setattr__(self, "keep", keep)

    def draw(self, generator: torch.Generator, grid: Grid) -> Lowpass | SequenceLowpass:
        """Sample a low-pass for a latent grid (h, w)."""
        assert self.keep is not None  # since it was made
        if self.axis is not None:
            return SequenceLowpass(_choose(generator, self.keep), self.block, self.axis)
        require_plane(grid)
        if grid[0] % self.block or grid[1] % self.block:
            what = f"a {grid[0]} x {grid[1]} latent grid does not divide into blocks of {self.block}"
            raise ValueError(f"{what}; choose a block that divides it or another image size")
        return Lowpass(_choose(generator, self.keep), self.block, tuple(grid))


@dataclass(frozen=True)
class ScaleTurn:
    """Scale by numerator / denominator, then rotate by quarter turns: (b, c, h, w) → (b, c, h', w').

    ValueError for any other plane than that of latents on `grid` or a whole multiple of it.

    antialias: widen the interpolation's kernel when shrinking. Without it, as in the published code, frequencies above
    the new Nyquist frequency fold back: white noise keeps a variance of 0.25 at half the size, not 0.17.
    """

    numerator: int
    denominator: int
    turns: int = 0
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    grid: Grid | None = field(default=None, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        """Scale, then rotate."""
        require_field(x, self.grid)
        h, w = (n * self.numerator // self.denominator for n in x.shape[-2:])
        return resize(x, (h, w), self.interpolation, self.antialias).rot90(self.turns, (-2, -1))


def _legal(grid: Grid, numerator: int, denominator: int) -> bool:
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
        require_wholes(factors=self.factors)
        if not self.factors or min(self.factors) < 1:
            raise ValueError(f"expected factors of at least 1, got {self.factors}")

    def draw(self, generator: torch.Generator, grid: Grid) -> ScaleTurn:
        """Sample a downscaling for a latent grid (h, w)."""
        require_plane(grid)
        legal = [factor for factor in self.factors if _legal(grid, 1, factor)]
        if max(legal, default=1) == 1 < max(self.factors):
            raise ValueError(f"no factor of {self.factors} above 1 divides a {grid[0]} x {grid[1]} latent grid")
        return ScaleTurn(1, _choose(generator, legal), 0, self.interpolation, self.antialias, tuple(grid))


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
        require_wholes(scales=self.scales, turns=self.turns)
        require_whole(denominator=self.denominator)
        require_number(probability=self.probability)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {self.probability}")
        if not self.turns or not self.scales or min(self.scales) < 1 or self.denominator < 1:
            got = f"scales {self.scales} over denominator {self.denominator} and turns {self.turns}"
            raise ValueError(f"expected positive scales and some turns, got {got}")

    def draw(self, generator: torch.Generator, grid: Grid) -> ScaleTurn | IdentityMap:
        """Sample a scaling with rotation, or the identity, for a latent grid (h, w)."""
        require_plane(grid)
        require_generator(generator)
        legal = [scale for scale in self.scales if _legal(grid, scale, self.denominator)]
        if not legal:
            what = f"a {grid[0]} x {grid[1]} latent grid"
            raise ValueError(f"no scale n / {self.denominator} scales {what} to whole numbers")
        # Sample both either way, so that the probability does not shift later random numbers.
        chance = float(torch.rand((), generator=generator, device=generator.device))
        scale, turns = _choose(generator, legal), _choose(generator, self.turns)
        transform = ScaleTurn(scale, self.denominator, turns, self.interpolation, self.antialias, tuple(grid))
        return transform if chance < self.probability else IdentityMap()
