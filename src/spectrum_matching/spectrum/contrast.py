"""RMS spatial contrast of a field of tokens, and the directional spectral energy that equals its square.

Spectrum Matching (arXiv 2603.14645), proposition 3.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .power import power_spectrum
from .separable import in_working_precision

if TYPE_CHECKING:
    from jaxtyping import Float

    Field = Float[Tensor, "b c h w"]


def unit_tokens(field: Field, patch: int = 1) -> Float[Tensor, "b d n m"]:
    """Normalize each patch × patch token to unit length: (b, c, h, w) → (b, c·patch², h/patch, w/patch).

    Vectors shorter than 1e-8 keep their direction but not unit length.

    Raises:
        ValueError: unless h and w are multiples of `patch`.
    """
    field = in_working_precision(field, n_dims=4)
    h, w = field.shape[-2:]
    if field.ndim != 4 or patch < 1 or h % patch or w % patch:
        raise ValueError(f"expected (b, c, h, w) with h and w multiples of {patch}, got {tuple(field.shape)}")
    tokens = torch.nn.functional.pixel_unshuffle(field, patch)
    length: Tensor = tokens.norm(dim=1, keepdim=True)
    return tokens / length.clamp_min(1e-8)


def rmsc(field: Field, patch: int = 1) -> Float[Tensor, " b"]:
    """Return the RMS spatial contrast, (b, c, h, w) → (b,) in [0, 1]: RMS distance of unit tokens from their mean.

    Source: iREPA (arXiv 2512.10794).
    """
    tokens = unit_tokens(field, patch)
    deviation = tokens - tokens.mean((-2, -1), keepdim=True)
    distance: Tensor = deviation.flatten(1).norm(dim=1)
    return distance / math.sqrt(deviation[0, 0].numel())


def directional_spectrum(field: Field, patch: int = 1) -> Float[Tensor, "b n m"]:
    """Return the power spectrum of the unit tokens, summed over channels: (b, c, h, w) → (b, h/patch, w/patch).

    Divided by the number of tokens, so that it sums to 1 over the grid where no token is zero.
    """
    tokens = unit_tokens(field, patch)
    return power_spectrum(tokens).sum(1) / tokens.shape[-2:].numel()


def directional_energy(field: Field, patch: int = 1) -> Float[Tensor, " b"]:
    """Return the share of the directional spectrum outside DC, (b, c, h, w) → (b,) in [0, 1].

    It equals rmsc(field, patch)² (Spectrum Matching, proposition 3.2).
    """
    spectrum = directional_spectrum(field, patch)
    return spectrum.sum((-2, -1)) - spectrum[..., 0, 0]
