"""What a network must be to be trained and sampled here: a call, whatever its class."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from torch import Tensor

Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(noisy (b, c, h, w), t (b,)) → prediction (b, c, h, w): a denoiser with its labels and its guidance inside."""


class Denoiser(Protocol):
    """Predicts what a `Path` asks for from noisy data. Holds no randomness.

    noisy (b, c, h, w); t (b,) in [0, 1], 0 data and 1 noise; labels (b,) int64, −1 for no label, or None for a network
    without labels. Returns the prediction (b, c, h, w), and the tokens (b, n, width) that block `tap` puts out or None.
    """

    def __call__(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]: ...
