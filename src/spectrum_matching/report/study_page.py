"""A study as one self-contained page: headings, each with its sentences, figures and tables."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..records.analysis import Provenance
from .canvas import Panel
from .comparison import context
from .table import Table
from .template import fill


class StudyTable(NamedTuple):
    """A titled table; its rows are of the page's names. under: what a reader must know of it, "" for nothing.

    folded: whether it opens only when asked. dense: whether uncertainties stand below values, which saves width.
    """

    title: str
    table: Table
    rows_are: str
    under: str = ""
    folded: bool = False
    dense: bool = False


class Block(NamedTuple):
    """One section. text: a paragraph each.

    key: what the marks of the panels stand for, in the order of their colours; None for the page's names, () for no
    key. extra: what else the key must say. numbered: whether the panels tell the key's entries apart by number too.
    """

    heading: str
    text: tuple[str, ...]
    panels: tuple[Panel, ...] = ()
    tables: tuple[StudyTable, ...] = ()
    key: tuple[str, ...] | None = None
    extra: str = ""
    numbered: bool = False

    @property
    def anchor(self) -> str:
        """Of the page's contents."""
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-") or "section"


def render_study(
    title: str,
    lead: Sequence[str],
    blocks: Sequence[Block],
    names: Sequence[str],
    provenance: Provenance,
    command: str,
    notes: Sequence[str] = (),
    settings: Sequence[tuple[str, str]] = (),
) -> str:
    """The page. It loads nothing, and the same study gives the same bytes. ValueError for headings alike.

    lead: what was found, a paragraph each. names: of what was studied, in the order of colours and rows. notes: what
    must be known before the numbers are read. settings: what they depend on, a title and a value.
    """
    anchors = [block.anchor for block in blocks]
    if len({*anchors, "provenance"}) <= len(anchors):
        raise ValueError(f"sections of one page must differ in their headings, got {', '.join(anchors)}")
    return fill(
        "study.html",
        ("page.css", "study.css"),
        title=title,
        lead=lead,
        blocks=blocks,
        names=names,
        notes=notes,
        provenance=[*settings, *context.provenance(provenance, command)],
    )
