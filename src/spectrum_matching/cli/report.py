"""The command `specmatch report`: put saved analyses, or a saved comparison, on one page."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..files.atomic import explain_write_errors, write_text_atomically
from ..files.locks import exclusive
from ..files.outputs import require_replaceable
from ..records.analysis import ANALYSES, Analysis
from ..records.comparison import COMPARISON
from ..report.analysis.page import figure_sections, render
from ..report.comparison.page import render_comparison
from ..report.saved import require_figures_folder, write_figures
from .output import draw_page, say_replaced

COMPARED = "comparison.json"


def write_report(
    files: Annotated[Sequence[Path], arg(metavar="FILE ...")],
    /,
    *,
    out: Path = Path("report.html"),
    figures: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Put saved analyses, or a saved comparison, on one page.

    For example:
        specmatch report before after/analysis.json --out both.html
        specmatch report runs/compare/cifar10 --out comparison.html

    Args:
        files: analysis.json files, or one comparison.json, or the folders that hold them.
        out: The page; for a folder, report.html in it.
        figures: Folder for the figures of analyses as PDF, and their numbers as CSV.
        overwrite: Replace a file of this name that specmatch did not write.
    """
    if not files:
        raise ValueError("no analysis was given: name analysis.json files, or the folders that hold them")
    paths = [_numbers(path) for path in files]
    analyses: list[Analysis] = []
    if comparisons := [path for path in paths if path.name == COMPARED]:
        if len(paths) > 1 or figures:
            raise ValueError(f"{comparisons[0]} has a page of its own, without --figures: name it alone")
        comparison = COMPARISON.read(paths[0])
    else:
        analyses = with_unique_names([(path, analysis) for path in paths for analysis in ANALYSES.read(path)])
        if not analyses:
            raise ValueError(f"no analysis is in {', '.join(map(str, paths))}; run `specmatch analyze` again")
    page = out / "report.html" if out.is_dir() else out
    require_replaceable(page, overwrite)
    say_replaced(page)
    if figures:
        require_figures_folder(figures)
    with exclusive(page):
        draw = partial(render_comparison, comparison) if comparisons else partial(render, analyses)
        text = draw_page(page, draw, ", ".join(map(str, paths)))
        with explain_write_errors(str(page), "rerun the same command, or choose another --out"):
            write_text_atomically(page, text)
    if figures:
        write_figures(figures, figure_sections(analyses))
    return page


def _numbers(path: Path) -> Path:
    """Return the file of a folder that holds its numbers: analysis.json, or else comparison.json."""
    if not path.is_dir():
        return path
    compared, analyzed = path / COMPARED, path / "analysis.json"
    return compared if compared.exists() and not analyzed.exists() else analyzed


def with_unique_names(entries: Sequence[tuple[Path, Analysis]]) -> list[Analysis]:
    """Return the analyses under unique names: duplicates get the folder of their file, or else a number."""
    bare = [analysis.subject.name for _, analysis in entries]
    names = [f"{a.subject.name} ({p.parent})" if bare.count(a.subject.name) > 1 else a.subject.name for p, a in entries]
    names = [f"{name} #{n}" if (n := names[: i + 1].count(name)) > 1 else name for i, name in enumerate(names)]
    return [replace(a, subject=replace(a.subject, name=name)) for name, (_, a) in zip(names, entries, strict=True)]
