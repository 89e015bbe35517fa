import base64
import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from html_of_tests import Elements
from spectrum_matching.files.stages import slug
from spectrum_matching.records.analysis import Provenance
from spectrum_matching.report.canvas import Curve, curves
from spectrum_matching.report.study_page import Block, StudyTable, render_study
from spectrum_matching.report.table import Cell, Column, Table

OWN = Provenance("0.3.0", "afc7f8e", "2.13.0", "0.42.0", "cpu", "float32", 0)
HOSTILE = "<i>A</i> & \"quoted\" {x} </script><script>document.title='owned'</script>"
GRID = Table(
    (Column("filter", is_text=True), Column("value", "dB")), ((0, (Cell("none"), Cell("1.25", "± 0.1", 1.25))),)
)


def drawing(name="one", x_label="band"):
    return curves(
        "Drawn", x_label, "dB", [Curve([1.0, 2.0], [0.5, -3.0], name + "\n{x}: {y} dB", {"color": "#1d1f23"})]
    )


class Record(NamedTuple):
    provenance: Provenance = OWN
    command: str = "specmatch study of --it"
    notes: tuple[str, ...] = ()


def render(blocks, names=("one", "two"), notes=(), **changes):
    return render_study(Record(notes=notes), "A study", ("It was found.",), blocks, names, **changes)


@pytest.fixture(scope="module")
def page():
    blocks = (
        Block("First things", ("What is drawn.",), (drawing(),), key=("tone",), extra="dashed: the other"),
        Block("In numbers", ("What is told.",), tables=(StudyTable("All", GRID, "encoder", "Read it so."),), key=()),
    )
    return render(blocks, notes=("Small.",), settings=(("images", "12 of 16 px"),))


def test_render_study_loads_nothing_and_links_to_its_sections(page):
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
    to_sections, saved = [], []
    for link in elements.named("a"):
        (saved if "download" in link else to_sections).append(link)
    assert [link["href"] for link in to_sections] == ["#first-things", "#in-numbers", "#provenance"]
    assert [link["download"] for link in saved] == [f"first-things-{slug(drawing().title)}.csv"]
    assert unquote(saved[0]["href"]) == f"data:text/csv;charset=utf-8,{drawing().csv}"
    assert {link["href"][1:] for link in to_sections} <= set(ids)


def test_render_study_shows_everything_it_is_given(page):
    text = " ".join(Elements(page).text.split())
    for said in ("A study", "It was found.", "Small.", "What is drawn.", "dashed: the other", "What is told.", "1.25"):
        assert said in text, said
    for said in ("Read it so.", "12 of 16 px", "specmatch study of --it", "afc7f8e", "● tone", "● one"):
        assert said.replace(" ", "") in text.replace(" ", ""), said
    assert page.count('class="key"') == 1  # the second section asks for none


def test_render_study_section_without_key_shows_the_names():
    shown = Elements(render([Block("It", (), (drawing(),), numbered=True)])).text
    assert "1one" in re.sub(r"\s", "", shown)
    assert "2two" in re.sub(r"\s", "", shown)


def test_render_study_escapes_html():
    table = Table((Column("column " + HOSTILE),), ((0, (Cell("cell " + HOSTILE),)),))
    drawn = drawing("name " + HOSTILE, "axis " + HOSTILE)
    block = Block(
        "heading " + HOSTILE,
        ("text " + HOSTILE,),
        (drawn,),
        (StudyTable("table " + HOSTILE, table, "kind " + HOSTILE, "under " + HOSTILE),),
        ("key " + HOSTILE,),
        "extra " + HOSTILE,
    )
    page = render_study(
        Record(command="command " + HOSTILE, notes=("note " + HOSTILE,)),
        "title " + HOSTILE,
        ("lead " + HOSTILE,),
        [block],
        ["name " + HOSTILE],
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
    for what in ("column", "cell", "axis", "setting", "its value"):
        assert f"{what} &lt;i&gt;A" in page, what


def test_render_study_requires_different_headings():
    with pytest.raises(ValueError, match="differ in their headings, got it, it"):
        render([Block("It", ()), Block("it!", ())])
    with pytest.raises(ValueError, match="differ in their headings"):
        render([Block("Provenance", ())])
