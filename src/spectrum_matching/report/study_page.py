"""A study as one self-contained page: headings, each with its sentences, figures and tables."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..records.analysis import Provenance
from .canvas import Panel
from .table import Matrix, Table, provenance_rows
from .template import fill


class Study(Protocol):
    """The fields that the records of all studies share."""

    @property
    def provenance(self) -> Provenance:
        """Versions and device."""

    @property
    def command(self) -> str:
        """The command that ran it."""

    @property
    def notes(self) -> Sequence[str]:
        """Caveats to read before the numbers."""


class StudyTable(NamedTuple):
    """A titled table, whose rows are of the page's names.

    rows_are: what a row is, such as "encoder". under: a note below it. folded: closed until the reader opens it.
    dense: uncertainties stand below values, which saves width.
    """

    title: str
    table: Table
    rows_are: str
    under: str = ""
    folded: bool = False
    dense: bool = False


class Block(NamedTuple):
    """One section: its paragraphs, figures, pictures, and tables, of which those without rows are left out.

    key: the legend of the figures, in the order of their colours; None for the page's names, () for no legend. extra:
    an addition to the legend. numbered: whether figures tell the entries of the legend apart by number too.
    """

    heading: str
    text: tuple[str, ...]
    panels: tuple[Panel, ...] = ()
    tables: tuple[StudyTable, ...] = ()
    key: tuple[str, ...] | None = None
    extra: str = ""
    numbered: bool = False
    pictures: tuple[Matrix, ...] = ()

    @property
    def anchor(self) -> str:
        """The target of the link in the contents."""
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-") or "section"


def render_study(
    study: Study,
    title: str,
    lead: Sequence[str],
    blocks: Sequence[Block],
    names: Sequence[str],
    settings: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the page, which loads nothing; the same study gives the same bytes.

    lead: the findings, a paragraph each. names: of what was studied, in the order of colours and rows. settings: what
    the numbers depend on, titles and values.

    Raises:
        ValueError: if two sections have the same heading.
    """
    anchors = [block.anchor for block in blocks]
    if len({*anchors, "provenance"}) <= len(anchors):
        raise ValueError(f"sections of one page must differ in their headings, got {', '.join(anchors)}")
    return fill(
        "study.html",
        title=title,
        lead=lead,
        blocks=blocks,
        names=names,
        notes=study.notes,
        provenance=[*settings, *provenance_rows(study.provenance).items(), ("command", study.command)],
    )
