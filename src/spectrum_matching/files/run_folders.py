"""Run directories of trainings: where what they trained lies in them."""

from pathlib import Path

from .documents import read_json
from .yaml_files import read_mapping

RUN = "run.yaml"
EXPORT = "export"
RECORD = "specmatch.json"
"""The file in an export that says how it was trained."""


def exported(source: str | Path) -> Path:
    """Return the export in a run directory; any other path as it is.

    Raises:
        ValueError: for the run directory of a training that has not finished, or is being continued.
    """
    folder = Path(source).expanduser()
    if not (folder / RUN).is_file():
        return folder
    if not (folder / EXPORT).is_dir():
        raise ValueError(f"{source} holds an unfinished training: rerun the same command to finish it")
    steps, step = read_mapping(folder / RUN).get("steps"), _step(folder / EXPORT)
    if step not in (None, steps):
        raise ValueError(
            f"{source} holds an unfinished training: {RUN} says {steps} steps, the export is of step {step}; rerun the "
            f"same command to finish it, or give {folder / EXPORT} to use the old one"
        )
    return folder / EXPORT


def _step(export: Path) -> int | None:
    """Return the step whose weights an export holds; None where no record says so, which its reader explains."""
    path = export / RECORD
    match read_json(path, "train again, or copy the export again") if path.is_file() else None:
        case {"training": {"step": int(step)}} | {"step": int(step)}:  # of an autoencoder, of a denoiser
            return step
    return None
