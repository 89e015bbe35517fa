"""Representation alignment of a denoiser's tokens with a vision encoder's: projector × target filter × loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from ..spectrum.contrast import unit_tokens
from ..spectrum.filters import difference_of_gaussians, resize
from ..spectrum.separable import in_working_precision, require_alike
from .projectors import ConvolutionProjector, PerceptronProjector

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "b d h w"]

Std = float | Literal["none", "empirical"]
EPSILON = 1e-6


class TargetFilter(Protocol):
    """A filter applied to alignment targets: (b, d, h, w) → (b, d, h, w), float32 or wider."""

    def __call__(self, field: Field) -> Field:
        """Filter a field (b, d, h, w)."""


@dataclass(frozen=True)
class Unfiltered:
    """No filter. Source: REPA (arXiv 2410.06940)."""

    def __call__(self, field: Field) -> Field:
        """Return the field in float32 or wider."""
        return in_working_precision(field, n_dims=4)


@dataclass(frozen=True)
class SpatialNormalisation:
    """Subtract gamma times each image's mean token, then divide by `std` as in `scaled`.

    gamma 1 removes DC and nothing else. Source: iREPA (arXiv 2512.10794): gamma 0.6 to 0.8, std "empirical".
    """

    gamma: float = 1.0
    std: Std = "none"

    def __post_init__(self) -> None:
        if not math.isfinite(self.gamma):
            raise ValueError(f"gamma, the share of the mean token that is subtracted, must be finite, got {self.gamma}")
        check_std(self.std)

    def __call__(self, field: Field) -> Field:
        """Subtract gamma times the mean token, then divide by `std`."""
        field = in_working_precision(field, n_dims=4)
        return scaled(field - self.gamma * field.mean((-2, -1), keepdim=True), self.std)


@dataclass(frozen=True)
class DifferenceOfGaussians:
    """Band-pass by blur(`inner`) − blur(`outer`), in tokens, then divide by `std` as in `scaled`.

    inner 0 makes it a high-pass. Borders are mirrored, repeatedly where a kernel is wider than the grid. Source:
    REPA-DoG, Spectrum Matching (arXiv 2603.14645), section 3.5, whose sigmas are not known.
    """

    inner: float
    outer: float
    std: Std = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.inner < self.outer < math.inf:
            raise ValueError(f"expected 0 <= inner < outer < inf tokens, got inner {self.inner} and outer {self.outer}")
        check_std(self.std)

    def __call__(self, field: Field) -> Field:
        """Band-pass the field, then divide by `std`."""
        field = in_working_precision(field, n_dims=4)
        return scaled(difference_of_gaussians(field, self.inner, self.outer), self.std)


def scaled(field: Field, std: Std) -> Field:
    """Divide targets by their standard deviation: (b, d, h, w) → (b, d, h, w).

    std "empirical": each channel by its standard deviation over the tokens of an image (n − 1, as in iREPA; a single
    token is left unchanged); a number: everything by it, which changes neither loss; "none": nothing. A channel that is
    constant over an image, and not zero, becomes very large.
    """
    if std == "none" or (std == "empirical" and field.shape[-2:].numel() == 1):
        return field
    if std == "empirical":
        return field / (field.std((-2, -1), keepdim=True) + EPSILON)
    return field / std


def check_std(std: Std) -> None:
    """Check that std is "none", "empirical" or a positive number.

    Raises:
        ValueError: otherwise.
    """
    if isinstance(std, str):
        if std not in ("none", "empirical"):
            raise ValueError(f"std must be none, empirical or a positive number, got {std!r}")
    elif not 0 < std < math.inf:
        raise ValueError(f"std, which the target is divided by, must be positive and finite, got {std}")


def negative_cosine(student: Field, target: Field) -> Float[Tensor, ""]:
    """Return minus the mean cosine over tokens and images, a scalar in [−1, 1]. Source: REPA."""
    require_alike(student, target)
    return -(unit_tokens(student) * unit_tokens(target)).sum(1).mean()


def gram(student: Field, target: Float[Tensor, "b e h w"]) -> Float[Tensor, ""]:
    """Return the mean squared difference of the two fields' token-to-token cosines, a scalar in [0, 4].

    student (b, d, h, w), target (b, d', h, w): the widths may differ. Relational knowledge distillation (arXiv
    1904.05068) on cosines.
    """
    require_alike(student, target, width=False)
    student, target = unit_tokens(student).flatten(2), unit_tokens(target).flatten(2)
    return (student.mT @ student - target.mT @ target).square().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": negative_cosine, "gram": gram}


class Alignment(nn.Module):
    """Distance of a block's tokens, projected to the target's width, from a filtered target.

    projector: (tokens (b, n, width), grid) → (b, d, *grid). loss: of projected tokens and filtered target on the
    tokens' grid, in float32 also under autocast. Gradients flow to the tokens and the projector alone.
    """

    def __init__(
        self,
        projector: nn.Module,
        target_filter: TargetFilter,
        loss: Callable[[Tensor, Tensor], Tensor] = negative_cosine,
    ) -> None:
        super().__init__()
        self.projector, self.target_filter, self.loss = projector, target_filter, loss

    def forward(
        self, tokens: Float[Tensor, "b n width"], grid: tuple[int, int], target: Float[Tensor, "b d u v"]
    ) -> Float[Tensor, ""]:
        """Compare tokens (b, n, width) on grid (h, w) with a target (b, d, h', w').

        A target on another grid is filtered on its own grid, then resampled.

        Raises:
            ValueError: where the aspect ratios differ, or there is not one target for each image.
        """
        if target.ndim != 4 or len(target) != len(tokens) or target.shape[-2] * grid[1] != target.shape[-1] * grid[0]:
            aspect = f"of the aspect ratio of the tokens' grid, {grid[0]} x {grid[1]}"
            expected = f"(b, d, h, w) for {len(tokens)} images, {aspect}"
            raise ValueError(f"alignment targets are {tuple(target.shape)}; expected {expected}")
        projected = self.projector(tokens, grid)
        with torch.autocast(tokens.device.type, enabled=False):
            with torch.no_grad():
                filtered = resize(self.target_filter(target), grid, "bilinear")
            return self.loss(in_working_precision(projected, n_dims=4), filtered)


def repa(width: int, target_width: int, hidden: int = 2048, seed: int = 0) -> Alignment:
    """Return REPA's alignment (arXiv 2410.06940)."""
    return Alignment(PerceptronProjector(width, target_width, hidden, seed), Unfiltered())


def irepa(width: int, target_width: int, gamma: float = 0.6, std: Std = "empirical", seed: int = 0) -> Alignment:
    """Return iREPA's alignment (arXiv 2512.10794)."""
    return Alignment(ConvolutionProjector(width, target_width, seed), SpatialNormalisation(gamma, std))


def repa_dog(
    width: int, target_width: int, inner: float, outer: float, std: Std = "empirical", seed: int = 0
) -> Alignment:
    """Return REPA-DoG with iREPA's projector.

    Source: Spectrum Matching (arXiv 2603.14645), whose sigmas are not known.
    """
    return Alignment(ConvolutionProjector(width, target_width, seed), DifferenceOfGaussians(inner, outer, std))
