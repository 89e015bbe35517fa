"""The atlas: published numbers of public tokenizers, our analyses of real latent spaces, and our comparison of methods.

`experiments/make_atlas.py` writes atlas.json. Published numbers are facts, cited row by row; those that we measure in
the same way carry the keys of our metrics, so that bounds and readings are those of the catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ...files.documents import Document
from ...records.measurement import Measurement
from ..catalogue import METRICS

Family = Literal["VAE", "tokens", "representation", "pixels"]


@dataclass(frozen=True)
class Source:
    """A published table. date: of the version that was read. size: side of the images in pixels."""

    key: str
    title: str
    date: str
    reference: str
    protocol: str
    size: int


@dataclass(frozen=True)
class PublishedSpace:
    """A row of a published table.

    family: a VAE has a grid of latents that was learned with the decoder; "tokens" are a set without a grid; a
    "representation" is that of a vision encoder. shape: (channels, h, w) of the latents of a square image, or
    (tokens, channels); empty where the table does not state it. representation: whether a pretrained vision encoder, or
    an objective of representation learning beside reconstruction, took part in training; None for pixels. numbers: by
    the keys of our metrics where the reading is ours, else by the table's own names.
    """

    name: str
    source: str
    family: Family
    shape: tuple[int, ...]
    representation: bool | None
    released: str
    paper: str
    numbers: Mapping[str, float]

    @property
    def impossible(self) -> dict[str, float]:
        """The numbers that the definition of their metric forbids, by key."""
        return {key: value for key, value in self.numbers.items() if key in METRICS and not METRICS[key].allows(value)}

    def number(self, key: str) -> float | None:
        """Return a number; None where there is none, or an impossible one."""
        return None if key in self.impossible else self.numbers.get(key)

    def factor(self, size: int) -> int:
        """Return the side of the images over that of the grid; 0 where there is no grid."""
        return size // self.shape[1] if len(self.shape) == 3 else 0


@dataclass(frozen=True)
class OwnSpace:
    """What `analyze` measured of one latent space on one set of images.

    original: the autoencoder whose latents it imitates. autoencoder: the digest of its weights. digest: of the images,
    whose side is `size` pixels.
    """

    name: str
    original: str
    autoencoder: str
    factor: int
    shape: tuple[int, int, int]
    images: str
    digest: str
    size: int
    n_images: int
    numbers: Mapping[str, Measurement]


@dataclass(frozen=True)
class OwnTrial:
    """One method from one seed of the comparison on CIFAR-10: numbers of its autoencoder, scores of what was generated.

    autoencoder: its digest; methods that share one differ in diffusion alone.
    """

    method: str
    seed: int
    autoencoder: str
    numbers: Mapping[str, float]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Atlas:
    """Everything that a subject is compared with. own: numbers of our analyses; trials: of our comparison.

    Raises:
        ValueError: for a row of an unknown source, and for an own number that its metric's definition forbids.
    """

    sources: tuple[Source, ...]
    published: tuple[PublishedSpace, ...]
    own: tuple[OwnSpace, ...]
    trials: tuple[OwnTrial, ...]

    def __post_init__(self) -> None:
        known = {source.key for source in self.sources}
        for space in self.published:
            if space.source not in known:
                raise ValueError(f"{space.name}: its source {space.source!r} is not among {', '.join(sorted(known))}")
        measured: list[tuple[str, Mapping[str, float]]] = [
            (f"{space.name} on {space.images}", values(space.numbers)) for space in self.own
        ]
        measured += [(f"{trial.method}, seed {trial.seed}", trial.numbers) for trial in self.trials]
        for name, numbers in measured:
            for key, value in numbers.items():
                if key in METRICS and not METRICS[key].allows(value):
                    raise ValueError(f"{name}: {key} is {value}, which its definition forbids ({METRICS[key].range})")

    def source(self, key: str) -> Source:
        """Return the published table of this key."""
        return next(source for source in self.sources if source.key == key)

    def of(self, source: str) -> tuple[PublishedSpace, ...]:
        """Return the rows of one published table."""
        return tuple(space for space in self.published if space.source == source)

    def impossible(self) -> list[tuple[str, str, float]]:
        """Return name, key and value of each published number that the definition of its metric forbids."""
        return [(space.name, key, value) for space in self.published for key, value in space.impossible.items()]


BOARD = "ifid_board"
"""The key of the table with interpolation FIDs and the FIDs of SiT-B and SiT-XL."""

ATLAS = Document(Atlas, "specmatch-atlas-1", "atlas", "run `python experiments/make_atlas.py` again")


@cache
def read_atlas() -> Atlas:
    """Return the atlas that comes with the package, checked.

    Raises:
        ValueError: when it is damaged.
    """
    return ATLAS.read(Path(__file__).with_name("atlas.json"))


def values(numbers: Mapping[str, Measurement]) -> dict[str, float]:
    """Return the values of numbers that were not refused."""
    return {key: number.value for key, number in numbers.items() if number.value is not None}
