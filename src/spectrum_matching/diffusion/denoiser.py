"""The call that a network must support to be trained and sampled here."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from torch import Tensor

Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Maps noisy (b, c, h, w) and t (b,) to a prediction (b, c, h, w): a denoiser with labels and guidance bound."""


class Denoiser(Protocol):
    """A network that predicts velocity, noise or data from noisy data, as its `Path` says, without randomness.

    noisy (b, c, h, w); t (b,) in [0, 1], 0 data and 1 noise; labels (b,) int64, −1 for no label, or None for a network
    without labels. Returns the prediction (b, c, h, w), and the output tokens (b, n, width) of block `tap` or None.
    """

    def __call__(
        self, noisy: Tensor, t: Tensor, labels: Tensor | None, tap: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the prediction, and the tokens of block `tap` or None."""
