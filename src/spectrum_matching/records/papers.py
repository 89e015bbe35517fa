"""The papers that what we implement comes from, as BibTeX."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ENTRY = re.compile(r"@\w+\{(\w+),\n.*?\n\}", re.DOTALL)
ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{5})")
TITLE = re.compile(r"title\s*= \{(.*)\},\n")


class Paper(NamedTuple):
    """key: of its BibTeX entry. arxiv: its number there, "" if it has none."""

    key: str
    title: str
    arxiv: str
    bibtex: str


@cache
def papers() -> dict[str, Paper]:
    """Return the papers by key."""
    text = (Path(__file__).parent / "papers.bib").read_text()
    found = [_paper(entry[1], entry[0]) for entry in ENTRY.finditer(text)]
    return {paper.key: paper for paper in found}


def paper_of(citation: str) -> Paper:
    """Return the paper that a citation in words names, by its number on arXiv or else by its title.

    Raises:
        KeyError: where no entry is of that paper.
    """
    number = ARXIV.search(citation)
    for paper in papers().values():
        if paper.arxiv == number[1] if number else paper.title in citation:
            return paper
    raise KeyError(citation)


def _paper(key: str, bibtex: str) -> Paper:
    number, title = ARXIV.search(bibtex), TITLE.search(bibtex)
    assert title is not None
    return Paper(key, title[1].replace("{", "").replace("}", ""), number[1] if number else "", bibtex)
