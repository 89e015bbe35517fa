"""A table, for a page, the terminal or Markdown."""

from collections.abc import Iterable
from typing import NamedTuple


class Cell(NamedTuple):
    """A value, smaller its uncertainty, and what it sorts by; `key` is None for words and for what is missing."""

    value: str
    spread: str = ""
    key: float | None = None


class Column(NamedTuple):
    """A heading; is_text: of words rather than numbers; one_sided: a blurred or constant latent would win it."""

    title: str
    unit: str = ""
    is_text: bool = False
    one_sided: bool = False


class Table(NamedTuple):
    """rows: the place of the row's autoencoder, then its cells."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[int, tuple[Cell, ...]], ...]

    @property
    def sorts(self) -> bool:
        """Whether rows may change places: there are several, each of an autoencoder of its own."""
        places = [place for place, _ in self.rows]
        return 1 < len(places) == len(set(places))


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))
