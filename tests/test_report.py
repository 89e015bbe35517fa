import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from spectrum_matching.data import open_images
from spectrum_matching.measure import analyze
from spectrum_matching.nets.autoencoder import Autoencoder
from spectrum_matching.report import render
from spectrum_matching.results import read_analyses, to_json
from spectrum_matching.tables import best, notes

QUIET = [
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("<i>first</i> & $x_1$", "second")


@pytest.fixture(scope="module")
def analyses():
    """Two autoencoders of random weights."""
    images = open_images("embedded", 32, split="held_out")
    networks = [Autoencoder.from_preset("tiny", seed=seed) for seed in (0, 1)]
    return [
        analyze(network, images, name=name, split="held_out", n_images=8)
        for name, network in zip(NAMES, networks, strict=True)
    ]


@pytest.fixture(scope="module")
def page(analyses):
    return render(analyses)


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.all if name == tag]


def test_the_page_loads_nothing(page):
    elements = Elements(page)
    for tag, attributes in elements.all:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    outside_data = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert not re.findall(r"url\((?!#)", outside_data)
    assert "@import" not in outside_data


def test_the_same_analyses_give_the_same_bytes_also_from_json(analyses, page, tmp_path):
    (tmp_path / "analysis.json").write_text(to_json(analyses))
    assert render(read_analyses(tmp_path / "analysis.json")) == page


def test_names_are_text_wherever_they_stand(page):
    assert "<i>first</i>" not in page
    assert page.count("&lt;i&gt;first&lt;/i&gt; &amp; $x_1$") > 10


def test_figures_and_pictures_say_what_they_show_and_ids_are_unique(page):
    elements = Elements(page)
    figures = elements.named("figure")
    assert len(figures) == 3 + 2 + 2 + 2 + 2
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 20 for figure in figures)
    assert all(picture["alt"] for picture in elements.named("img"))
    ids = [attributes["id"] for _, attributes in elements.all if "id" in attributes]
    assert len(set(ids)) == len(ids)
    used = [attributes["xlink:href"][1:] for attributes in elements.named("use")]
    assert used
    assert set(used) <= set(ids)


def test_shared_pictures_are_embedded_once_and_the_page_stays_small(analyses, page):
    shown = [picture.png for picture in analyses[0].pictures if not picture.decoded]
    assert len(shown) == 6 * 4
    assert all(page.count(png) == shown.count(png) for png in shown)
    assert len(page) < 1_000_000


def test_one_autoencoder_without_a_low_pass_curve_still_makes_a_page(analyses):
    bare = replace(analyses[1], lowpass=(), pictures=(), notes=("No low-pass curve: the grid is odd.",))
    page = render([bare])
    assert "No low-pass curve: the grid is odd." in page
    assert "What the decoder makes" not in page


def test_an_end_of_the_searched_range_is_marked(analyses):
    match = analyses[0].view("mean").match("scale_free")
    assert [best(replace(match, best_delta=delta)) for delta in (-0.5, -0.49, 2.5)] == ["≤ −0.50", "−0.49", "≥ 2.50"]


def test_a_note_names_the_autoencoders_it_is_about_unless_that_is_all(analyses):
    first, second = (replace(a, notes=("of both", *own)) for a, own in zip(analyses, ((), ("own",)), strict=True))
    assert notes([first, second]) == ["of both", "second: own"]


def test_no_analysis_is_refused():
    with pytest.raises(ValueError, match="no analysis"):
        render([])


def test_a_browser_shows_the_numbers_without_an_error_or_a_request(analyses, page, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    (tmp_path / "report.html").write_text(page)
    arguments = ["--no-sandbox", "--disable-gpu", *QUIET]
    requests: list[str] = []
    complaints: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=arguments)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((tmp_path / "report.html").as_uri())
        text = tab.locator("body").inner_text()
        broken = tab.evaluate("[...document.images].filter(picture => !picture.naturalWidth).length")
        overflow = []
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            overflow.append(tab.evaluate("document.documentElement.scrollWidth - window.innerWidth"))
        first = "getComputedStyle(document.querySelector('figure path[style*=\"--c0\"]')).stroke"
        colours = []
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            colours.append(tab.evaluate(first))
        browser.close()
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert complaints == []
    assert broken == 0
    assert max(overflow) <= 0
    assert colours == ["rgb(194, 69, 45)", "rgb(240, 128, 106)"]
    for analysis in analyses:
        assert analysis.subject.name in text
        for shown in (f"{analysis.psnr.value:.2f}", f"{analysis.ssim.value:.3f}", analysis.subject.digest):
            assert shown.replace("-", "−") in text
