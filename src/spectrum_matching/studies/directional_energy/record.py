"""The record of the directional-energy study: spectra of encoders' tokens before and after each target filter."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...files.documents import Document
from ...records.analysis import Provenance, Sample
from ...records.measurement import Measurement


@dataclass(frozen=True)
class FilterResult:
    """The tokens of one encoder after one target filter; means over images.

    family: the filter without its std; settings: its numbers; divided: whether each channel is divided by its empirical
    std. dc, shares (bands): of the directional spectrum; they sum to 1 where every token has a direction. energy:
    directional spectral energy. measurements: rmsc, lds, cds and srss. deviation: the largest difference, over images,
    between RMSC², the spectrum outside DC, and 1 − ‖mean unit token‖². n_without: images with a zero token, which has
    no direction; the last of the three is left out for them.
    """

    filter: str
    family: str
    settings: str
    divided: bool
    dc: Measurement
    shares: tuple[Measurement, ...]
    energy: Measurement
    measurements: Mapping[str, Measurement]
    deviation: float
    n_without: int


@dataclass(frozen=True)
class EncoderResult:
    """One encoder. width: of a token. resizer: how images are resized and normalised. grid (h, w): of the tokens.

    far: distance in tokens from which LDS and SRSS call two distant. frequencies, counts (bands): of each band, in
    cycles per token, and its number of coefficients without DC.
    """

    name: str
    source: str
    digest: str
    width: int
    resizer: str
    grid: tuple[int, int]
    frequencies: tuple[float, ...]
    counts: tuple[int, ...]
    far: int
    filters: tuple[FilterResult, ...]


@dataclass(frozen=True)
class DirectionalEnergy:
    """All encoders on the same images. masks: the folder of foreground masks, "" for none."""

    encoders: tuple[EncoderResult, ...]
    sample: Sample
    masks: str
    command: str
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The families of filters, in the order in which they were applied."""
        return tuple(dict.fromkeys(result.family for encoder in self.encoders for result in encoder.filters))


DIRECTIONAL_ENERGY = Document(
    DirectionalEnergy, "specmatch-directional-energy-3", "study", "run `specmatch study directional-energy` again"
)
"""study.json."""
