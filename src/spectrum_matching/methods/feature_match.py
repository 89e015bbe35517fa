"""VA-VAE's encoding-side loss: linearly mapped latents stay near the features of a vision encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spectrum.contrast import unit_tokens
from ..spectrum.filters import resize
from ..spectrum.separable import in_working_precision, require_alike
from .method import Posterior
from .shapes import require_number, require_whole

if TYPE_CHECKING:
    from jaxtyping import Float

    Latents = Float[Tensor, "b c h w"]
    Images = Float[Tensor, "b 3 H W"]
    Field = Float[Tensor, "b d h w"]
    Scalar = Float[Tensor, ""]

Features = Callable[[Tensor], Tensor]
"""Maps images (b, 3, H, W) in [-1, 1] to a field (b, width, h', w')."""


class FeatureGap(NamedTuple):
    """Two scalars: misalignment of single tokens, and difference of the tokens' pairwise similarities."""

    direction: Scalar
    distance: Scalar


def feature_gap(
    mapped: Field, features: Field, cosine_margin: float = 0.5, distance_margin: float = 0.25
) -> FeatureGap:
    """Compare two fields of tokens, (b, width, h, w); scaling a token changes nothing.

    direction: mean over tokens of relu(1 - cosine_margin - cosine of the two fields' tokens). distance: mean over all
    pairs of tokens of an image of relu(|cosine in the one field - cosine in the other| - distance_margin).
    Source: VA-VAE (arXiv 2501.01423).
    """
    require_alike(mapped, features)
    with torch.autocast(mapped.device.type, enabled=False):
        ours, theirs = (unit_tokens(x).flatten(2) for x in (mapped, features))
        cosines = (ours * theirs).sum(1)
        gaps = (ours.mT @ ours - theirs.mT @ theirs).abs()
        return FeatureGap(F.relu(1 - cosine_margin - cosines).mean(), F.relu(gaps - distance_margin).mean())


def features_on_grid(field: Field, grid: tuple[int, int]) -> Float[Tensor, "b d u v"]:
    """Resample a field of tokens to the latents' grid: (b, width, h', w') → (b, width, *grid), bilinear, antialiased.

    Raises:
        ValueError: for another aspect ratio.
    """
    h, w = field.shape[-2:]
    if h * grid[1] != w * grid[0]:
        expected = f"the aspect ratio of the latents' {grid[0]} x {grid[1]}; crop the images to squares"
        raise ValueError(f"the vision encoder's grid is {h} x {w}, expected {expected}")
    return resize(in_working_precision(field), grid, "bilinear")


class FeatureMatch(nn.Module):
    """Sum of the two gaps between latents and a frozen vision encoder's features, averaged over the batch.

    encoder: images (b, 3, H, W) in [-1, 1] → field (b, width, h', w'). It is called without gradient and is not
    registered as a submodule: not moved, trained or saved with it. Its field is resampled to the latents' grid
    (bilinear, antialiased). channels: of the latents, which a 1 × 1 convolution without bias maps to `width`; `seed`
    alone decides its first weights. Margins as in `feature_gap`. The posterior is not used and may be None.
    Calling it raises ValueError for a field of another width or aspect ratio. Source: VA-VAE (arXiv 2501.01423).
    """

    def __init__(
        self,
        encoder: Features,
        width: int,
        channels: int,
        cosine_margin: float = 0.5,
        distance_margin: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_whole(width=width, channels=channels)
        require_number(cosine_margin=cosine_margin, distance_margin=distance_margin)
        if not 0 <= cosine_margin < 2 or not 0 <= distance_margin < 2:
            got = f"cosine_margin {cosine_margin} and distance_margin {distance_margin}"
            raise ValueError(f"margins must lie in [0, 2), got {got}")
        self._encoder = (encoder,)  # in a tuple, where a module is not registered
        self.width, self.cosine_margin, self.distance_margin = width, cosine_margin, distance_margin
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)
            self.projection = nn.Conv2d(channels, width, 1, bias=False)

    def features(self, images: Images, grid: tuple[int, int]) -> Field:
        """Return the encoder's features on the latents' grid, (b, width, *grid), without gradient.

        Raises:
            ValueError: for a field of another width or aspect ratio.
        """
        with torch.no_grad():
            field = self._encoder[0](images)
            if field.ndim != 4 or field.shape[:2] != (len(images), self.width):
                expected = f"({len(images)}, {self.width}, h, w)"
                raise ValueError(f"the vision encoder gave {tuple(field.shape)}, expected {expected}")
            return features_on_grid(field, grid)

    def forward(self, posterior: Posterior | None, latents: Latents, images: Images) -> Scalar:
        """Return the loss, a scalar."""
        if latents.ndim != 4:
            raise ValueError(f"latents are {tuple(latents.shape)}, expected (b, c, h, w): features lie on a grid")
        h, w = latents.shape[-2:]
        latents = in_working_precision(latents)
        with torch.autocast(latents.device.type, enabled=False):
            mapped = F.conv2d(latents, self.projection.weight.to(latents.dtype))
        gap = feature_gap(mapped, self.features(images, (h, w)), self.cosine_margin, self.distance_margin)
        return gap.direction + gap.distance
