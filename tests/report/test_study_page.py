import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from spectrum_matching.records.analysis import Provenance
from spectrum_matching.report.canvas import Panel, colour, panel
from spectrum_matching.report.study_page import Block, StudyTable, render_study
from spectrum_matching.report.table import Cell, Column, Table

OWN = Provenance("0.3.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0)
HOSTILE = "<i>A</i> & \"quoted\" {x} </script><script>document.title='owned'</script>"
VALUES = [[0.0, 1.5, -3.0], [None, float("nan"), 12.0]]
GRID = Table(
    (Column("filter", is_text=True), Column("value", "dB")), ((0, (Cell("none"), Cell("1.25", "± 0.1", 1.25))),)
)


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.all, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.all if name == tag]


def heat(values=VALUES, rows=("low", "high"), columns=("a", "b", "c"), limit=3.0):
    panels = []
    with panel("Heat", "values by row and column", panels) as canvas:
        canvas.heat_map(values, rows, columns, "{row}, {column}\n{value} dB", limit, decimals=1)
    return panels[0]


def render(blocks, names=("one", "two"), **changes):
    return render_study("A study", ("It was found.",), blocks, names, OWN, "specmatch study of --it", **changes)


@pytest.fixture(scope="module")
def page():
    blocks = (
        Block("First things", ("What is drawn.",), (heat(),), key=("tone",), extra="dashed: the other"),
        Block("In numbers", ("What is told.",), tables=(StudyTable("All", GRID, "encoder", "Read it so."),), key=()),
    )
    return render(blocks, notes=("Small.",), settings=(("images", "12 of 16 px"),))


def test_a_page_loads_nothing_and_its_contents_lead_somewhere(page):
    elements = Elements(page)
    for tag, attributes in elements.all:
        assert tag not in {"iframe", "object", "embed", "form", "img"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in elements.named("meta") if "http-equiv" in meta)
    assert f"script-src 'sha256-{digest}'" in policy
    ids = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert [link["href"] for link in elements.named("a")] == ["#first-things", "#in-numbers", "#provenance"]
    assert {link["href"][1:] for link in elements.named("a")} <= set(ids)


def test_all_that_is_given_is_said(page):
    text = " ".join(Elements(page).text.split())
    for said in ("A study", "It was found.", "Small.", "What is drawn.", "dashed: the other", "What is told.", "1.25"):
        assert said in text, said
    for said in ("Read it so.", "12 of 16 px", "specmatch study of --it", "afc7f8e", "● tone", "● one"):
        assert said.replace(" ", "") in text.replace(" ", ""), said
    assert page.count('class="key"') == 1  # the second section asks for none


def test_a_section_without_a_key_of_its_own_tells_the_names():
    shown = Elements(render([Block("It", (), (heat(),), numbered=True)])).text
    assert "1one" in re.sub(r"\s", "", shown)
    assert "2two" in re.sub(r"\s", "", shown)


def test_whatever_looks_like_html_is_text_wherever_it_stands():
    table = Table((Column("column " + HOSTILE),), ((0, (Cell("cell " + HOSTILE),)),))
    drawn = heat([[1.0]], ["row " + HOSTILE], ["place " + HOSTILE])
    block = Block(
        "heading " + HOSTILE,
        ("text " + HOSTILE,),
        (drawn,),
        (StudyTable("table " + HOSTILE, table, "kind " + HOSTILE, "under " + HOSTILE),),
        ("key " + HOSTILE,),
        "extra " + HOSTILE,
    )
    page = render_study(
        "title " + HOSTILE,
        ("lead " + HOSTILE,),
        [block],
        ["name " + HOSTILE],
        OWN,
        "command " + HOSTILE,
        ("note " + HOSTILE,),
        (("setting " + HOSTILE, "its value " + HOSTILE),),
    )
    assert page.count("<script") == 1
    assert "<i>A" not in page
    for what in (
        "title",
        "lead",
        "heading",
        "text",
        "table",
        "kind",
        "under",
        "key",
        "extra",
        "name",
        "command",
        "note",
    ):
        assert f"{what} &lt;i&gt;A" in page, what
    for what in ("column", "cell", "row", "place", "setting", "its value"):
        assert f"{what} &lt;i&gt;A" in page, what


def test_headings_must_differ():
    with pytest.raises(ValueError, match="differ in their headings, got it, it"):
        render([Block("It", ()), Block("it!", ())])
    with pytest.raises(ValueError, match="differ in their headings"):
        render([Block("Provenance", ())])


def test_a_heat_map_tells_every_value_that_is_there_and_leaves_the_others_empty():
    told = re.findall(r"<title>([^<]*)</title>", heat().svg)
    assert told == ["low, a\n0 dB", "low, b\n1.50 dB", "low, c\n−3.00 dB", "high, c\n12.0 dB"]
    tones = re.findall(r"fill: var\(--(c\d)\)(?:; opacity: ([\d.]+))?", heat().svg)
    assert [name for name, _ in tones] == ["c0", "c1", "c0"]  # zero is the bare page
    assert [float(opacity or 1) for _, opacity in tones] == [0.5, 1, 1]
    assert not {colour(0), colour(1)} & set(re.findall(r"#\w{6}", heat().svg))
    for written in ("1.5", "−3.0", "12.0"):
        assert written in re.findall(r">([^<>]+)</text>", heat().svg)


def test_a_wide_heat_map_writes_no_numbers_and_thins_its_ticks():
    columns = [str(i) for i in range(30)]
    wide = heat([[0.125] * 30], ["only"], columns, limit=0.0)
    written = re.findall(r">([^<>]+)</text>", wide.svg)
    assert written == [*columns[::3], "only"]
    assert isinstance(wide, Panel)
    assert len(re.findall("<title>", wide.svg)) == 30
