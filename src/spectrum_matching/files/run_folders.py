"""Run directories of trainings: where what they trained lies in them."""

from pathlib import Path

RUN = "run.yaml"
EXPORT = "export"


def exported(source: str | Path) -> Path:
    """Return the export in a run directory; any other path as it is.

    Raises:
        ValueError: for the run directory of a training that has not finished.
    """
    folder = Path(source).expanduser()
    if not (folder / RUN).is_file():
        return folder
    if not (folder / EXPORT).is_dir():
        raise ValueError(f"{source} holds an unfinished training: rerun the same command to finish it")
    return folder / EXPORT
