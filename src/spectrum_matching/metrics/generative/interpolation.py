"""Interpolation Fréchet distance: images halfway between an image and one of its neighbours in the latent space.

Each latent of the images measured is moved halfway along the arc to one of the ten reference latents of largest cosine
similarity, and decoded. Source: iFID (arXiv 2603.05630). Where nearby latents decode to images, a space has few holes
that a diffusion model could fall into.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...seeding import fraction
from ..metric import Published
from .model import Fitting, GenerativeMetric, LatentModel, ReferenceLatents, distances

N_NEIGHBOURS = 10
BLOCK, QUERIES = 4096, 1024
"""Reference latents and images whose similarities are held at once: 16 MiB of float32."""

MAX_NUMBERS = 2**24
"""Numbers in the latents that are held at once, 128 MiB of float64: of larger latents a block has fewer."""

STRAIGHT = 1e-6
"""Sine of the angle between two latents below which they are joined by a line instead of an arc."""

RAW = LatentSpace()


class Neighbours(NamedTuple):
    """For each of m latents its k nearest in a reference, nearest first: cosines, squared norms and indices (m, k)."""

    cosines: Tensor
    squares: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Interpolation:
    """Latents halfway between each of `evaluated` and a neighbour of its in `reference`, chosen (m,), in one space."""

    reference: ReferenceLatents
    evaluated: ReferenceLatents
    chosen: Sequence[int]
    space: LatentSpace

    def sample(self, indices: Sequence[int]) -> Tensor:
        """Return the raw latents (b, c, h, w) of these of the images measured."""
        ends = self.evaluated.read(indices), self.reference.read([self.chosen[index] for index in indices])
        first, second = (self.space.to_unit(end.double()) for end in ends)
        return self.space.from_unit(halfway(first, second)).float()


def halfway(first: Tensor, second: Tensor) -> Tensor:
    """Return the middle of the arc between latents (b, c, h, w), each one vector: spherical linear interpolation."""
    a, b = first.flatten(1), second.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(a, b).clamp(-1, 1)
    is_straight = (1 - cosine.square()).sqrt() < STRAIGHT
    # sin(θ / 2) / sin θ, the weight of both ends.
    weight = torch.where(is_straight, 0.5, 0.5 / ((1 + cosine) / 2).sqrt())
    return ((a + b) * weight[:, None]).view_as(first)


def find_neighbours(
    fitting: Fitting, space: LatentSpace = RAW, k: int = N_NEIGHBOURS, block: int = 0, queries: int = QUERIES
) -> Neighbours:
    """Return the k reference latents of largest cosine similarity to each evaluated one, in one pass of the reference.

    Exact up to float32's rounding of the similarities. The evaluated latents are held in memory, and the similarities
    of `queries` of them to `block` of the reference; 0: as many as `MAX_NUMBERS` allows.

    Raises:
        ValueError: for fewer reference latents than k.
    """
    device, block = fitting.device, block or rows_at_once(fitting.reference.shape)
    evaluated = torch.cat([_unit_vectors(latents, space, device)[0] for latents, _ in fitting.evaluated.blocks(block)])
    if fitting.reference.n < k:
        raise ValueError(f"{fitting.reference.n} reference latents are fewer than the {k} neighbours to draw from")
    cosines = torch.full((len(evaluated), k), -torch.inf, device=device)
    squares = torch.zeros(len(evaluated), k, dtype=torch.float64, device=device)
    indices = torch.zeros(len(evaluated), k, dtype=torch.int64, device=device)
    done = 0
    for latents, _ in fitting.reference.blocks(block):
        vectors, norms = _unit_vectors(latents, space, device)
        for rows in _ranges(len(evaluated), queries):
            near, columns = (evaluated[rows] @ vectors.mT).topk(min(k, len(vectors)), 1)
            merged, order = torch.cat([cosines[rows], near], 1).topk(k, 1)
            cosines[rows] = merged
            squares[rows] = torch.cat([squares[rows], norms[columns]], 1).gather(1, order)
            indices[rows] = torch.cat([indices[rows], columns + done], 1).gather(1, order)
        done += len(latents)
        fitting.progress(done, fitting.reference.n)
    return Neighbours(cosines.cpu(), squares.cpu(), indices.cpu())


def rows_at_once(shape: tuple[int, int, int]) -> int:
    """Return how many latents of a shape are held at once, at most `BLOCK`."""
    return max(1, min(BLOCK, MAX_NUMBERS // math.prod(shape)))


def choose(neighbours: Neighbours, evaluated: ReferenceLatents, space: LatentSpace, seed: int) -> list[int]:
    """Return for each latent one of its neighbours, drawn with the softmax of minus their mean squared difference."""
    blocks = evaluated.blocks(rows_at_once(evaluated.shape))
    squares = torch.cat([_squares(space.to_unit(z.double())) for z, _ in blocks])[:, None]
    across = (squares * neighbours.squares).sqrt() * neighbours.cosines.double()
    mean_squared = (squares + neighbours.squares - 2 * across) / math.prod(evaluated.shape)
    ends = torch.softmax(-mean_squared, 1).cumsum(1)
    draws = torch.tensor([[fraction("interpolation", seed, i)] for i in range(len(ends))], dtype=torch.float64)
    places = torch.searchsorted(ends, draws, right=True).clamp(max=ends.shape[1] - 1)
    return neighbours.indices.gather(1, places).flatten().tolist()


def fit_interpolation(fitting: Fitting, space: LatentSpace = RAW) -> LatentModel:
    """Choose a neighbour for each evaluated latent, as published: raw latents, whose scale decides the draw."""
    chosen = choose(find_neighbours(fitting, space), fitting.evaluated, space, fitting.seed)
    return Interpolation(fitting.reference, fitting.evaluated, chosen, space)


def fit_unit_interpolation(fitting: Fitting) -> LatentModel:
    """Do the same in the reference's unit scale, so that a factor on the latents, or on a channel, changes nothing."""
    return fit_interpolation(fitting, fitting.reference.space)


def _unit_vectors(latents: Tensor, space: LatentSpace, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return latents as vectors of norm 1 (b, d) in float32, and their squared norms (b,) in float64, on the device."""
    values = space.to_unit(latents.to(device))
    return torch.nn.functional.normalize(values.flatten(1)), _squares(values.double())


def _squares(values: Tensor) -> Tensor:
    return values.flatten(1).square().sum(1)


def _ranges(n: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n, size))


PROTOCOL = (
    "one sample of each posterior; neighbours among the reference latents by cosine of whole latents; slerp halfway; "
    "the reference leaves out nothing"
)

INTERPOLATION = GenerativeMetric(
    distances(
        "interpolation_fid",
        "interpolation Fréchet distance",
        f"{PROTOCOL}; raw latents, so that their scale decides how sharply the nearest is preferred. iFID where the "
        "extractor is Inception’s, at 256 pixels, of 50,000 images against 1.28 million",
        source="iFID (arXiv 2603.05630)",
        evidence="within the four shapes of three or four public tokenizers 1, 1, 1 and −0.8; ours: over 32 small "
        "autoencoders of one shape 0.27",
        across=Published(0.80, (0.55, 0.91), 21, "Inception at 256 pixels, 50,000 images against 1.28 million"),
    ),
    fit_interpolation,
    is_paired=True,
)
UNIT_INTERPOLATION = GenerativeMetric(
    distances(
        "interpolation_fid_unit",
        "interpolation Fréchet distance, unit scale",
        f"{PROTOCOL}; latents of unit scale by channel, so that no factor on them changes the number",
        source="ours, after iFID (arXiv 2603.05630)",
        evidence="none of its own: a reading of interpolation_fid",
    ),
    fit_unit_interpolation,
    is_paired=True,
)
