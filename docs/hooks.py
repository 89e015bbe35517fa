"""Lay the site out as the repository does, so that a link leads to the same place on both.

MkDocs takes pages from one folder; ours also lie at the root, in experiments/ and in bench/, and link to programs.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "experiments/*.md", "bench/*.md")
LINK = re.compile(r"\]\((?!https:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by all pages, and whatever they link to, under their paths in the repository."""
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    linked = {(page.parent / link).resolve() for page in pages for link in LINK.findall(page.read_text())}
    others = {path for path in linked if path.is_file()} | {ROOT / name for name in config.extra["polyfills"]}
    site = [file for file in files if file.abs_src_path is None or ROOT / "docs" not in Path(file.abs_src_path).parents]
    for path in sorted(pages | others):
        site.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return Files(site)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out the sources of numbers, which are for the test that holds them."""
    return re.sub(r"\s*<!--.*?-->", "", markdown, flags=re.DOTALL)
