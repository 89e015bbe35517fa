"""Whether the latents of a turned or scaled image are the turned or scaled latents."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...spectrum.filters import resize

Resampling = Literal["area", "bicubic"]


@dataclass(frozen=True)
class Turn:
    """Quarter turns, anticlockwise: (…, h, w) → (…, h, w) or (…, w, h)."""

    turns: int

    @property
    def name(self) -> str:
        """As a reader is told."""
        return f"turn {90 * self.turns}°"

    def __call__(self, x: Tensor) -> Tensor:
        return x.rot90(self.turns, (-2, -1))


@dataclass(frozen=True)
class Shrink:
    """Scale by numerator / denominator: (…, h, w) → (…, h', w').

    resampling: "area" averages exactly over what each new cell covers; "bicubic" is torch's without antialiasing
    (align_corners False), which is the paper's and aliases.
    """

    numerator: int
    denominator: int
    resampling: Resampling = "area"

    @property
    def name(self) -> str:
        """As a reader is told."""
        return f"scale {self.numerator}/{self.denominator} ({self.resampling})"

    def __call__(self, x: Tensor) -> Tensor:
        h, w = (n * self.numerator // self.denominator for n in x.shape[-2:])
        return resize(x, (h, w), self.resampling, antialias=False)


Move = Turn | Shrink

TURNS = (Turn(1), Turn(2), Turn(3))
SCALES = ((1, 4), (1, 2), (3, 4))


def equivariance_moves(
    size: tuple[int, int], grid: tuple[int, int], multiple: int, resampling: Resampling = "area"
) -> tuple[tuple[Move, ...], tuple[str, ...]]:
    """The paper's six moves that are possible, and a sentence for each one that is not.

    size (H, W), grid (h, w), multiple: an encoder takes sides that are multiples of it. A scale is possible where it
    brings the grid to whole cells and the images to such sides.
    """
    moves: list[Move] = list(TURNS)
    left_out = []
    for numerator, denominator in SCALES:
        move = Shrink(numerator, denominator, resampling)
        if any(n * numerator % denominator for n in grid):
            left_out.append(f"{move.name}: a {grid[0]} × {grid[1]} grid does not scale to whole cells")
        elif any(n * numerator % (denominator * multiple) for n in size):
            left_out.append(f"{move.name}: {size[0]} × {size[1]} images do not scale to multiples of {multiple} pixels")
        else:
            moves.append(move)
    return tuple(moves), tuple(left_out)


def equivariance_error(
    encode: Callable[[Tensor], Tensor], latents: Tensor, images: Tensor, move: Callable[[Tensor], Tensor]
) -> Tensor:
    """‖τ(E(x)) − E(τ(x))‖² / ‖E(τ(x))‖² for one move τ: latents (b, c, h, w) = encode(images) → (b,), float32 or wider.

    Lower is better, from 0 without bound; about 2 where the two have nothing in common, and 0 for 0/0. One-sided: a
    constant encoder has 0. Depends on the resampling, and on whether latents are the posterior's mean or samples; a
    large channel mean hides errors. Source: EQ-VAE (arXiv 2502.09509), appendix C.3. Evidence: over 86 tokenizers
    (arXiv 2606.03578) |r| with gFID is 0.4 to 0.7 for scales and 0 for turns, within families alone; across unrelated
    autoencoders none, so compare before with after. ValueError where the encoder returns another shape for τ(x).
    """
    expected, actual = move(latents), encode(move(images))
    if expected.shape != actual.shape:
        raise ValueError(
            f"moved images {tuple(images.shape)} gave latents {tuple(actual.shape)}, expected {tuple(expected.shape)}: "
            f"the encoder's latents do not scale with its images"
        )
    wide = torch.promote_types(actual.dtype, torch.float32)
    expected, actual = expected.to(wide).flatten(1), actual.to(wide).flatten(1)
    energy = actual.square().sum(1).clamp_min(torch.finfo(wide).tiny)
    return (expected - actual).square().sum(1) / energy
