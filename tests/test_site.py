"""The site is built from the pages as they lie in the repository, and loads nothing from the net."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe|source|embed)\b[^>]*?\ssrc=[\"']?([^\"'\s>]+)|<link\b[^>]*?\shref=[\"']?([^\"'\s>]+)"
)
IMPORTED = re.compile(r"(?:@import\s*|url\()\s*[\"']?((?:https?:)?//[^\"')]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site. Warnings, such as a link or an anchor that leads nowhere, fail the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_readme_of_the_package_links_to_nothing_in_the_repository():
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"][
        "fancy-pypi-readme"
    ]
    text = (ROOT / "README.md").read_text()
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    assert re.findall(r"\]\((?!https:)", text) == []
    assert "https://arxiv.org/abs/2603.14645" in text
    assert "all pages by question" in text


@pytest.mark.slow
def test_site_loads_nothing_from_the_net(site):
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) >= 35
    assert styles
    for page in pages:
        loaded = [script or style for script, style in LOADED.findall(page.read_text())]
        assert any(name.endswith(".js") for name in loaded), page
        assert [name for name in loaded if re.match(r"(https?:)?//", name)] == [], page
        local = [name.partition("?")[0] for name in loaded if not name.startswith(("data:", "/"))]
        assert [name for name in local if not (page.parent / name).exists()] == [], page
    for style in styles:
        assert IMPORTED.findall(style.read_text()) == [], style


@pytest.mark.slow
def test_site_finds_pages_and_docstrings(site):
    found = {
        entry["location"]: entry["text"]
        for entry in json.loads((site / "search/search_index.json").read_text())["docs"]
    }
    assert "flattening exponent" in found["docs/api/methods.html#spectrum_matching.methods.ESM"]
    assert "unit variance" in found["docs/flatten.html"]
    assert not [place for place, text in found.items() if "results in" in text and "&lt;!--" in text]


@pytest.mark.slow
def test_site_brings_the_programs_that_pages_link_to(site):
    assert (site / "examples/taef2_autoencoder.py").read_text() == (ROOT / "examples/taef2_autoencoder.py").read_text()
