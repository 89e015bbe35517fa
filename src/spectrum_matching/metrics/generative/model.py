"""What generation without training is made of: reference latents, a model fitted to them, the metric of its images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...latent_space import LatentSpace
from ..images.score import BIAS
from ..metric import Metric

Progress = Callable[[int, int], None]
"""Takes the number done and the total."""


class ReferenceLatents(Protocol):
    """Raw latents of a set of images, one sample of each posterior, which is the same at every reading.

    n: how many. shape: (c, h, w). labels (n,): int64, -1 for none. space: to unit scale by channel, with the mean and
    the standard deviation of these latents; channels that do not vary are only centred.
    """

    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def space(self) -> LatentSpace: ...  # noqa: D102

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate once over all, in order: latents (b, c, h, w) float32 and labels (b,), b ≤ size, on the CPU."""
        ...

    def read(self, indices: Sequence[int]) -> Tensor:
        """Read latents (b, c, h, w) float32 by index, on the CPU."""
        ...


class Fitting(NamedTuple):
    """What a model is fitted to, and how.

    reference: latents of the images that it may learn from. evaluated: of the images that it is scored against, which
    interpolation starts from and other models must not look at. device: where large products run. progress: called with
    the number of reference latents read so far and that of all readings.
    """

    reference: ReferenceLatents
    evaluated: ReferenceLatents
    seed: int = 0
    device: torch.device = torch.device("cpu")
    progress: Progress = lambda done, total: None


class LatentModel(Protocol):
    """A model of latents that can be drawn from."""

    def sample(self, indices: Sequence[int]) -> Tensor:
        """Draw raw latents (b, c, h, w) float32 on the CPU; the same for an index in any batch, to rounding.

        A model by class draws of each in its share of the reference latents, nearly exactly in any first n samples.
        """
        ...


@dataclass(frozen=True)
class GenerativeMetric:
    """Fréchet distances of the images that a model of latents decodes to.

    metrics: to images, and to what posterior means of these decode to. fit: the model. is_paired: whether its sample i
    belongs to image i, as with interpolation; standard errors count both sides, together then, and else apart.
    """

    metrics: tuple[Metric, Metric]
    fit: Callable[[Fitting], LatentModel]
    is_paired: bool = False


def distances(key: str, title: str, conventions: str, **facts: Any) -> tuple[Metric, Metric]:
    """Describe the two distances of a model: `key` to images, `key`_reconstructions to their reconstructions.

    facts: fields of `Metric`, the evidence among them, of the distance to images; the other has none of it.
    """
    to_images = Metric(
        key=key,
        title=title,
        better="lower",
        range="from 0 on",
        bounds=(0.0, None),
        conventions=f"{conventions}. Fréchet distance to the images measured; {BIAS}. Interval: delta "
        "method over drawn and measured images, the fitted model held fixed",
        **facts,
    )
    to_reconstructions = replace(
        to_images,
        key=f"{key}_reconstructions",
        title=f"{title}, to reconstructions",
        one_sided=True,
        source="ours",
        evidence="takes the decoder's own blur out of the distance, with a confound: a decoder that blurs brings all "
        "that it decodes nearer together",
        across=None,
        conventions=f"as {key}, to what posterior means of the images measured decode to; {BIAS}",
    )
    return to_images, to_reconstructions
