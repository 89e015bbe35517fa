"""Gaussian laws of latents: a mean, and coefficients in an orthonormal basis that are independent of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ...seeding import indexed_noise
from ...spectrum.dct import dct2, idct2

GOLDEN = (5**0.5 - 1) / 2


class Basis(Protocol):
    """Orthonormal vectors in the space of latents (b, c, h, w); coefficients (b, …) may be fewer."""

    def forward(self, latents: Tensor) -> Tensor: ...  # noqa: D102
    def back(self, coefficients: Tensor) -> Tensor: ...  # noqa: D102


class Cosine(NamedTuple):
    """The DCT of each channel."""

    def forward(self, latents: Tensor) -> Tensor:
        """Return DCT coefficients."""
        return dct2(latents)

    def back(self, coefficients: Tensor) -> Tensor:
        """Return latents."""
        return idct2(coefficients)


class Dense(NamedTuple):
    """vectors (c·h·w, r): a basis vector in each column. shape: (c, h, w)."""

    vectors: Tensor
    shape: tuple[int, int, int]

    def forward(self, latents: Tensor) -> Tensor:
        """Return coefficients (b, r)."""
        return latents.flatten(1) @ self.vectors

    def back(self, coefficients: Tensor) -> Tensor:
        """Return latents."""
        return (coefficients @ self.vectors.mT).unflatten(1, self.shape)


class Separable(NamedTuple):
    """Basis vectors of channels (c, r) ⊗ those of positions (h·w, s), in columns. shape: (c, h, w)."""

    channels: Tensor
    positions: Tensor
    shape: tuple[int, int, int]

    def forward(self, latents: Tensor) -> Tensor:
        """Return coefficients (b, r, s)."""
        return self.channels.mT @ latents.flatten(2) @ self.positions

    def back(self, coefficients: Tensor) -> Tensor:
        """Return latents."""
        return (self.channels @ coefficients @ self.positions.mT).unflatten(2, self.shape[1:])


@dataclass(frozen=True)
class GaussianLaw:
    """A Gaussian: its mean (c, h, w), and the variances (…) of its independent coefficients in a basis."""

    mean: Tensor
    variances: Tensor
    basis: Basis

    def draw(self, white: Tensor) -> Tensor:
        """Turn standard normal noise (b, c, h, w) into latents by the symmetric root of the covariance.

        So the same noise gives nearly the same latents by laws that are nearly the same, whatever their bases.
        """
        return self.mean + self.basis.back(self.variances.sqrt() * self.basis.forward(white))

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return the mean of latents given `noisy` = latents + sigma · noise: the Wiener filter."""
        gains = self.variances / (self.variances + sigma**2)
        return self.mean + self.basis.back(gains * self.basis.forward(noisy - self.mean))


@dataclass(frozen=True)
class ClassLaws:
    """A Gaussian of unit-scale latents for each class, as a `LatentModel`; without classes there is one.

    shares: of each class among the reference latents, in the order of `laws`.
    """

    laws: Mapping[int, GaussianLaw]
    shares: Tensor
    space: LatentSpace
    seed: int

    def sample(self, indices: Sequence[int]) -> Tensor:
        """Draw raw latents (b, c, h, w) float32."""
        classes = self.classes(indices)
        white = self.noise(indices)
        units = torch.empty_like(white)
        for k, rows in rows_of(classes).items():
            units[rows] = self.laws[k].draw(white[rows])
        return self.space.from_unit(units)

    def noise(self, indices: Sequence[int]) -> Tensor:
        """Return the noise (b, c, h, w) of samples; the same for every law, so that differences are of the laws."""
        shape = next(iter(self.laws.values())).mean.shape
        return indexed_noise((len(indices), *shape), indices, "latents of a law", self.seed)

    def classes(self, indices: Sequence[int]) -> Tensor:
        """Return the class of each sample (b,): any first n samples have all classes in nearly their shares."""
        # Multiples of the golden ratio fill the unit interval more evenly than any random numbers.
        points = torch.tensor([(index + 0.5) * GOLDEN % 1 for index in indices], dtype=torch.float64)
        edges = self.shares.cumsum(0)[:-1].contiguous()
        return torch.tensor(list(self.laws))[torch.searchsorted(edges, points, right=True)]


def rows_of(classes: Tensor) -> dict[int, Tensor]:
    """Return the rows of each class that occurs in classes (b,)."""
    return {k: (classes == k).nonzero().flatten() for k in classes.unique().tolist()}
