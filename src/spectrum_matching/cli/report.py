"""The verb `report`: one page from analyses that were saved before."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ..files.atomic import write_text_atomically
from ..records.analysis import ANALYSES, Analysis
from ..report.analysis.page import render


def write_report(
    files: Annotated[Sequence[Path], arg(metavar="FILE ...")], /, *, out: Path = Path("report.html")
) -> Path:
    """Make one page from saved analyses.

    Args:
        files: analysis.json files, or the folders that hold them.
        out: The page; a folder gets report.html in it.
    """
    if not files:
        raise ValueError("no analysis was given: name analysis.json files, or the folders that hold them")
    paths = [path / "analysis.json" if path.is_dir() else path for path in files]
    analyses = with_names_apart([(path, analysis) for path in paths for analysis in ANALYSES.read(path)])
    page = out / "report.html" if out.is_dir() else out
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(page, render(analyses))
    except OSError as error:
        raise ValueError(f"cannot write {page}: {error.strerror}; choose another --out") from error
    return page


def with_names_apart(found: Sequence[tuple[Path, Analysis]]) -> list[Analysis]:
    """The analyses; those of one name get as much of their files' folders as tells them apart, or else a number."""
    names = [analysis.subject.name for _, analysis in found]
    for depth in range(1, 4):
        twice = {name for name in names if names.count(name) > 1}
        if not twice:
            break
        names = [
            f"{analysis.subject.name} ({'/'.join(path.resolve().parts[:-1][-depth:])})" if name in twice else name
            for name, (path, analysis) in zip(names, found, strict=True)
        ]
    seen: dict[str, int] = {}
    analyses = []
    for name, (_, analysis) in zip(names, found, strict=True):
        seen[name] = seen.get(name, 0) + 1
        own = name if seen[name] == 1 else f"{name} #{seen[name]}"
        analyses.append(replace(analysis, subject=replace(analysis.subject, name=own)))
    return analyses
