"""The record of how the latents of autoencoders map to one another, and what each decoder makes of the others'."""

from dataclasses import dataclass
from typing import Literal

from ..files.documents import Document, require_equal_lengths
from .analysis import Provenance, Sample, Subject
from .measurement import Measurement

Answer = Literal["drop-in", "after a map", "no", "undecided"]


@dataclass(frozen=True)
class Bands:
    """Shares of power explained by radial band, DC apart: 1 − power of the error / power, both summed over images.

    frequencies (bins): cycles per sample of the grid. shares (bins). dc: of the coefficient (0, 0), which `shares`
    leave out.
    """

    frequencies: tuple[float, ...]
    shares: tuple[Measurement, ...]
    dc: Measurement

    def __post_init__(self) -> None:
        require_equal_lengths(self, "frequencies", "shares")


@dataclass(frozen=True)
class Space:
    """One latent space and its own reconstructions. shape: (c, h, w). std: of all latent values.

    psnr: of its own reconstructions, in dB. kept: the share of the images' power that these explain.
    """

    subject: Subject
    shape: tuple[int, int, int]
    std: float
    psnr: Measurement
    kept: Bands


@dataclass(frozen=True)
class Route:
    """One way from the latents of a source to the decoder of a target, on images that no map was fitted to.

    kernel: side of the map in positions of the common grid; 0 for no map. r2: share of the variance of the target's
    latents that is explained, over all channels together. r2_fitted: the same on the images of the fit; None without a
    map. bands: r2 by frequency of the target's grid. channels (c): r2 of each of the target's channels. psnr: of the
    decoded images, in dB. loss: PSNR of the yardstick's own reconstructions − psnr, in dB, image by image. kept: the
    share of the images' power that the decoded ones explain.
    """

    kernel: int
    r2: Measurement
    r2_fitted: float | None
    bands: Bands
    channels: tuple[Measurement, ...]
    psnr: Measurement
    loss: Measurement
    kept: Bands


@dataclass(frozen=True)
class Direction:
    """From the latents of `source` to the decoder of `target`: names of spaces.

    patches: so many positions a side of the source's and of the target's latents are stacked into channels, which
    brings both to one grid. cosines (c): between channels of one number, after their means; empty where shapes differ.
    yardstick: whichever of the two has the lower PSNR by itself: neither the source's information nor the target's
    decoder allows for more. routes: from the simplest to the widest map. kernel: that of the route that answers, 0
    where none does. sentence, evidence: the answer in words.
    """

    source: str
    target: str
    patches: tuple[int, int]
    cosines: tuple[Measurement, ...]
    yardstick: str
    routes: tuple[Route, ...]
    answer: Answer
    kernel: int
    sentence: str
    evidence: str

    @property
    def widest(self) -> Route:
        """The route by the widest map."""
        return self.routes[-1]

    @property
    def judged(self) -> Route:
        """The route whose numbers the sentence quotes: where none will do, that by the widest map."""
        found = (route for route in self.routes if route.kernel == self.kernel)
        return self.widest if self.answer == "no" else next(found, self.widest)


@dataclass(frozen=True)
class MapPicture:
    """The central part of an image, decoded by the target from the source's latents by a map of side `kernel`.

    Where source and target are one, it is its own reconstruction; where both are "", the image itself. png: base64.
    """

    image: str
    source: str
    target: str
    kernel: int
    png: str


@dataclass(frozen=True)
class LatentComparison:
    """Every pair of several latent spaces in both directions, on one set of images.

    n_tests: on so many of the images latents were decoded. directions: by source, then target. command: what wrote it.
    notes: what a reader of the numbers must know, one sentence each.
    """

    spaces: tuple[Space, ...]
    directions: tuple[Direction, ...]
    sample: Sample
    n_tests: int
    pictures: tuple[MapPicture, ...]
    command: str
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The names of the spaces."""
        return [space.subject.name for space in self.spaces]

    def direction(self, source: str, target: str) -> Direction:
        """Return one direction by the names of its spaces."""
        return next(each for each in self.directions if (each.source, each.target) == (source, target))


LATENT_COMPARISON = Document(
    LatentComparison, "specmatch-latent-comparison-1", "comparison", "run `specmatch compare-latents` again"
)
"""latent_comparison.json."""
