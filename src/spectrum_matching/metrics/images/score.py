"""Definition of a score of a set of images: its records, what it keeps of each batch, how it compares two sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from ...records.measurement import Measurement
from ..metric import Metric
from .statistics import Collect, Collected, ImageStatistics

score_metric = partial(
    Metric,
    unit="",
    better="lower",
    range="from 0 on",
    bounds=(0.0, None),
    one_sided=False,
    evidence="a score of generated images itself, not a predictor",
)
"""Describes a number that scores images, lower for better ones."""

BIAS = "biased upward for few images: compare only equal numbers of images"


class SetComparison(NamedTuple):
    """Statistics of a set of images and of the reference that it is compared with.

    source: name of the reference, for messages. n_reference: images behind its features, 0 if unknown. is_paired: image
    i of one set belongs to image i of the other, as with reconstructions; standard errors then count both, where the
    reference is held fixed otherwise. seed: of random projections. reconstructions: statistics of what the generator's
    autoencoder decodes real images to, n_reconstructions of them; floor: the distance of their halves; None without.
    """

    images: ImageStatistics
    reference: ImageStatistics
    source: str = "images"
    n_reference: int = 0
    is_paired: bool = False
    seed: int = 0
    reconstructions: ImageStatistics | None = None
    n_reconstructions: int = 0
    floor: Measurement | None = None

    @property
    def no_rows(self) -> Measurement:
        """The refusal where a score needs features of single images and the reference holds none."""
        return Measurement(None, refused=f"reference {self.source} holds only moments, no features of single images")

    @property
    def size_refusal(self) -> str:
        """Why the images themselves cannot be compared with those of the reference; "" if they can."""
        size, wanted = self.images.size, self.reference.size
        if not wanted:
            return f"reference {self.source} holds no images"
        return "" if size == wanted else f"the reference's images have {wanted} pixels a side, these {size}"


@dataclass(frozen=True)
class SetScore:
    """A score of a set of images.

    metrics: descriptions of its numbers. compare: the numbers by their keys, none where the extractor does not give
    what they need. collect: what it keeps of a batch, of both sets, beside the features. of: the kinds of evaluation
    that it belongs to. details: descriptions of further numbers, which a comparison shows last. uses_reference: whether
    it depends on the reference.
    """

    metrics: tuple[Metric, ...]
    compare: Callable[[SetComparison], Mapping[str, Measurement]]
    collect: Collect = lambda batch: Collected()
    of: tuple[Literal["generation", "reconstruction"], ...] = ("generation",)
    details: tuple[Metric, ...] = ()
    uses_reference: bool = True
