import pytest

from spectrum_matching.methods import zoo
from spectrum_matching.records.papers import paper_of, papers

CITATIONS = [name for name in dir(zoo) if name.isupper() and isinstance(getattr(zoo, name), str)]


def test_every_entry_is_read_and_names_one_paper():
    found = papers().values()
    assert sum(paper.bibtex.count("\n@") for paper in found) == 0
    numbers = [paper.arxiv for paper in found if paper.arxiv]
    assert len(set(numbers)) == len(numbers) > 15
    for paper in found:
        assert paper.title
        assert paper.bibtex.count("{") == paper.bibtex.count("}")


@pytest.mark.parametrize("name", CITATIONS)
def test_every_citation_of_the_zoo_has_its_entry(name):
    assert paper_of(getattr(zoo, name)).key


def test_paper_of_refuses_what_has_no_entry():
    with pytest.raises(KeyError):
        paper_of("arXiv 0000.00000")
