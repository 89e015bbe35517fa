"""Figures as files: each as PDF, for papers, and its numbers as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files.atomic import explain_write_errors, write_folder_atomically
from ..files.manifest import MANIFEST
from ..files.outputs import first_content
from .canvas import Panel, figure_name, saved


def require_figures_folder(folder: Path) -> None:
    """Check that figures may be written into a folder: it is new, empty, or holds figures of ours.

    Raises:
        ValueError: otherwise.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--figures: {folder} is a file, expected a folder; choose another")
    if (path := first_content(folder)) is not None and not (folder / MANIFEST).is_file():
        raise ValueError(
            f"--figures: {folder} holds {path.relative_to(folder)} and no figures of specmatch; choose another folder"
        )


def write_figures(folder: Path, sections: Mapping[str, Sequence[Panel]]) -> int:
    """Write SECTION-TITLE.pdf and .csv for every panel of every section; return the number of panels.

    Figures of ours that were there are replaced, other files kept. The same panels give the same bytes.

    Raises:
        ValueError: if the folder cannot be written.
    """
    named: dict[str, Panel] = {}
    for section, panels in sections.items():
        for panel in panels:
            name = figure_name(section, panel)
            while name in named:  # names of autoencoders that differ in other than letters and digits
                name += "_"
            named[name] = panel

    def write(partial: Path) -> None:
        for name, panel in named.items():
            (partial / f"{name}.csv").write_text(panel.csv, encoding="utf-8")
            pdf = saved(panel.figure, "pdf", {"Creator": "specmatch", "CreationDate": None})
            (partial / f"{name}.pdf").write_bytes(pdf)

    with explain_write_errors(str(folder), "rerun the same command, or choose another --figures"):
        write_folder_atomically(folder, write, keep_others=True)
    return len(named)
