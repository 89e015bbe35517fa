"""Where a number of a latent space stands among those of its kind: as many channels at the same factor.

Only numbers of one protocol are ranked: images of the same size, the same reading. Where the images themselves differ,
a rank is known only as far as other images do not move it: by as much as they moved the same number of one of our own
latent spaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...records.measurement import Measurement
from ..images.fidelity import PSNR_METRIC
from ..latents.concentration import SEC_25, SEC_50
from .spaces import read_atlas, values

PLACED = ((PSNR_METRIC.key,), (SEC_50.key, SEC_25.key))
"""Keys of the numbers that are placed; of several readings the first that can be. Published ones are read as ours."""

TITLES: Mapping[str, str] = {PSNR_METRIC.key: "PSNR", SEC_50.key: "SEC (ρ = 0.5)", SEC_25.key: "SEC (ρ = 0.25)"}

FEWEST = 2
"""Other latent spaces below which a rank says nothing."""


class Subject(NamedTuple):
    """What decides which numbers are of the same kind and protocol. digest: of the images; autoencoder: of weights."""

    channels: int
    factor: int
    size: int
    digest: str
    autoencoder: str

    @property
    def kind(self) -> str:
        """The kind in words: "4 channels at f8"."""
        return f"{self.channels} channel{'s' * (self.channels != 1)} at f{self.factor}"


@dataclass(frozen=True)
class Place:
    """The rank of one number, the lowest being 1, among n latent spaces of a kind, the subject included.

    ranks: least and greatest that it may be, by the number's own interval and other images together; ranks_moved: by
    other images alone. moved: how far these may move the number, 0 on the same ones. others: names and numbers,
    ascending.
    """

    title: str
    value: str
    ranks: tuple[int, int]
    ranks_moved: tuple[int, int]
    n: int
    kind: str
    moved: float
    others: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        """Return "SEC (ρ = 0.5) 0.209: 3rd lowest of 4 latent spaces with 4 channels at f8"."""
        low, high = map(_nth, self.ranks)
        where = f"{low} lowest" if low == high else f"{low} to {high} lowest"
        if self.ranks == (1, self.n):
            where = f"anywhere, since {self._cause} may move it past each"
        return f"{self.title} {self.value}: {where} of {self.n} latent spaces with {self.kind}"

    @property
    def _cause(self) -> str:
        if self.ranks_moved == self.ranks:
            return "other images alone"
        return "its interval and other images" if self.moved else "its interval alone"

    @property
    def evidence(self) -> str:
        """The others, and what the images may change, in one sentence."""
        rest = ", ".join(f"{name} {number:.4g}" for name, number in self.others)
        images = f"; measured on other images, which moved our own by up to {self.moved:.2g}" if self.moved else ""
        return f"{rest}{images}."


def place(key: str, number: Measurement, subject: Subject) -> Place:
    """Place a number among those of its kind.

    Raises:
        ValueError: in words, where there are too few of the same protocol to place it among.
    """
    if number.value is None:
        raise ValueError(f"{TITLES[key]} was refused: {number.refused}")
    rows = _rows(key, subject)
    others, moved = (
        {row.name: row.value for row in rows if (row.digest, row.size) == (subject.digest, subject.size)},
        0.0,
    )
    if len(others) < FEWEST:
        others, moved = (
            {row.name: row.value for row in rows if row.size == subject.size},
            moved_by_images(key, subject.size),
        )
    if len(others) < FEWEST:
        raise ValueError(_too_few(len(others), {row.size for row in rows}, subject))
    unit = " dB" if key == PSNR_METRIC.key else ""
    return Place(
        title=TITLES[key],
        value=f"{number.value:.3g}{unit}",
        ranks=_ranks(number.value, moved + (number.half_width or 0.0), others),
        ranks_moved=_ranks(number.value, moved, others),
        n=1 + len(others),
        kind=subject.kind,
        moved=moved,
        others=tuple(sorted(others.items(), key=lambda item: item[1])),
    )


def _ranks(value: float, slack: float, others: Mapping[str, float]) -> tuple[int, int]:
    """Return the least and the greatest rank of a number that lies within this slack of a value."""
    low, high = (1 + sum(other < end for other in others.values()) for end in (value - slack, value + slack))
    return low, high


def moved_by_images(key: str, size: int) -> float:
    """Return how far apart, at most, two sets of images of this size have a number of one of our latent spaces."""
    by_name: dict[str, list[float]] = {}
    for space in read_atlas().own:
        if space.size == size and key in (known := values(space.numbers)):
            by_name.setdefault(space.name, []).append(known[key])
    return max((max(each) - min(each) for each in by_name.values()), default=0.0)


class _Row(NamedTuple):
    name: str
    size: int
    digest: str
    value: float


def _rows(key: str, subject: Subject) -> list[_Row]:
    """Return every row of the subject's kind with this number, but the subject's own; of more images the later."""
    atlas, kind = read_atlas(), (subject.channels, subject.factor)
    rows = [
        _Row(space.name, space.size, space.digest, values(space.numbers)[key])
        for space in sorted(atlas.own, key=lambda space: space.n_images)
        if (space.shape[0], space.factor) == kind and space.autoencoder != subject.autoencoder
        if key in values(space.numbers)
    ]
    for space in atlas.published:
        size, value = atlas.source(space.source).size, space.number(key)
        if value is not None and (space.factor(size) and space.shape[0], space.factor(size)) == kind:
            rows.append(_Row(space.name, size, "", value))
    return rows


def _too_few(n: int, sizes: set[int], subject: Subject) -> str:
    if sizes and subject.size not in sizes:
        there = " and ".join(map(str, sorted(sizes)))
        return f"those with {subject.kind} were measured on images of {there} pixels, and these have {subject.size}"
    return f"the atlas has {n or 'no'} other latent space{'s' * (n > 1)} with {subject.kind}"


def _nth(rank: int) -> str:
    ending = "th" if rank in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"
