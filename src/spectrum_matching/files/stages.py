"""Stages of a long computation: each runs once, in a folder named by the digest of its inputs.

Other inputs give another folder, so nothing is overwritten. A stage that was interrupted resumes in its folder. Of two
processes that run the same stage, one waits for the other.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import write_text_atomically
from .digests import digest_json
from .locks import exclusive

RECORD = "stage.json"


@dataclass(frozen=True)
class FinishedStage:
    """A finished stage: its folder, the digest of its inputs, and the outputs on which later stages depend.

    seconds: the time it took, including attempts that ended by an error or an interrupt, but not by a kill.
    """

    folder: Path
    digest: str
    outputs: Mapping[str, Any]
    seconds: float


class UnfinishedError(Exception):
    """A stage that was to be read has not been run to its end."""


Work = Callable[[Path], Mapping[str, Any] | None]
StageRunner = Callable[[Path, str, Mapping[str, Any], Work], FinishedStage]


def run_stage(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
    """Run a stage unless it is finished, and return its record.

    inputs: plain values that decide the result. work: called with the stage's folder; returns the outputs, as JSON, or
    None if there are none.
    """
    folder = stage_folder(parent, name, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, waiting=True):
        if (folder / RECORD).exists():
            return _read_record(folder)
        interrupted = folder / "seconds"  # of attempts that were cut short
        seconds = float(interrupted.read_text()) if interrupted.exists() else 0.0
        started = time.perf_counter()
        try:
            outputs = dict(work(folder) or {})
        except BaseException:
            with suppress(OSError):  # a full disk has an error of its own
                interrupted.write_text(str(seconds + time.perf_counter() - started))
            raise
        seconds += time.perf_counter() - started
        content = {"inputs": inputs, "outputs": outputs, "seconds": round(seconds, 1)}
        write_text_atomically(folder / RECORD, json.dumps(content, indent=1) + "\n")
        interrupted.unlink(missing_ok=True)
    return _read_record(folder)


def read_finished_stage(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
    """Return the record of a finished stage; a `StageRunner` that never calls `work`.

    Raises:
        UnfinishedError: if the stage is not finished.
    """
    folder = stage_folder(parent, name, inputs)
    if not (folder / RECORD).exists():
        raise UnfinishedError(name)
    return _read_record(folder)


def stage_folder(parent: Path, name: str, inputs: Mapping[str, Any]) -> Path:
    """Return the folder of the stage with these inputs."""
    return parent / f"{name}-{digest_json(inputs)[:10]}"


def slug(name: str) -> str:
    """Return a name in lower case, in which everything but letters, digits and full stops is an underscore."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")


def _read_record(folder: Path) -> FinishedStage:
    content = json.loads((folder / RECORD).read_text())
    return FinishedStage(folder, folder.name.rpartition("-")[2], content["outputs"], content["seconds"])
