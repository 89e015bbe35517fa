"""Directional spectra of encoders' tokens by band, before and after each target filter."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...files.documents import Document
from ...records.analysis import Provenance, Sample
from ...records.measurement import Measurement


@dataclass(frozen=True)
class FilterReading:
    """The tokens of one encoder after one target filter; means over images.

    family: the filter whatever its std. settings: its numbers. divided: by the empirical std of each channel. dc,
    shares (bands): of the directional spectrum, of each image; their sum is 1 where every token has a direction.
    rmsc: RMS spatial contrast. energy: directional spectral energy. measurements: rmsc, lds, cds and srss. deviation:
    the largest difference, over images, between RMSC², the spectrum outside DC, and 1 − ‖mean unit token‖². n_without:
    images in which a token is zero, and so has no direction; of these the third says something else, and is left out.
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
class EncoderReading:
    """One encoder. width: of a token. resizer: how images reach its own size, and what is done to their values.

    grid (h, w): of the tokens. far: how many apart LDS and SRSS call distant. frequencies, counts (bands): where a
    band is, in cycles per token, and how many coefficients it holds without DC.
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
    filters: tuple[FilterReading, ...]


@dataclass(frozen=True)
class DirectionalEnergy:
    """All encoders on the same images. masks: the folder of foreground, "" for none. notes: as in `Analysis`."""

    encoders: tuple[EncoderReading, ...]
    sample: Sample
    masks: str
    command: str
    provenance: Provenance
    notes: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """In the order in which the filters were applied."""
        return tuple(dict.fromkeys(own.family for encoder in self.encoders for own in encoder.filters))


DIRECTIONAL_ENERGY = Document(
    DirectionalEnergy, "specmatch-directional-energy-2", "study", "run `specmatch study directional-energy` again"
)
"""study.json."""
