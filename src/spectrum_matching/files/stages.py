"""Stages of a long computation: each runs once, in a folder named by the digest of its inputs.

Other inputs give another folder, so nothing is overwritten. A stage that was interrupted resumes in its folder. Of two
commands that run the same stage, one waits for the other; the processes of one launch run it together.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import write_text_atomically
from .digests import digest_json
from .documents import Document
from .locks import exclusive
from .manifest import compare_files, sha256_of
from .outputs import is_product, require_own_folder, require_replaceable

RECORD = "stage.json"
STAGE_NAME = re.compile(r".+-[0-9a-f]{10}")
DOCUMENTS = (".json", ".jsonl", ".yaml")  # what a stage wrote that carries no checksum of its own, in part
REMEDY = "delete the folder of the stage, then the same command runs it again"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRecord:
    """Content of stage.json: inputs, outputs and seconds of the stage, and the SHA-256 of its documents by name."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    seconds: float
    documents: dict[str, str]


STAGE = Document(StageRecord, "specmatch-stage-1", "stage", REMEDY, sealed=True)


@dataclass(frozen=True)
class FinishedStage:
    """A finished stage: its folder, the digest of its inputs, and the outputs on which later stages depend.

    seconds: the time that it took, of all processes together, including attempts that ended by an error or an
    interrupt, but not by a kill.
    """

    folder: Path
    digest: str
    outputs: Mapping[str, Any]
    seconds: float


class UnfinishedError(Exception):
    """A stage that was to be read has not been run to its end."""


Work = Callable[[Path], Mapping[str, Any] | None]
StageRunner = Callable[[Path, str, Mapping[str, Any], Work], FinishedStage]
Once = Callable[[Callable[[], Any]], Any]
"""Calls a function in one of the processes that run a stage together, and returns its result in all of them."""


def run_stage(
    parent: Path, name: str, inputs: Mapping[str, Any], work: Work, once: Once = lambda act: act(), n_processes: int = 1
) -> FinishedStage:
    """Run a stage unless it is finished, and return its record.

    inputs: plain values that decide the result. work: called with the stage's folder; returns the outputs, as JSON, or
    None if there are none. once, n_processes: of the processes that run the stage together; each calls `work`.

    Raises:
        ValueError: where the record of a finished stage, or a document that it names, is damaged.
    """
    folder = stage_folder(parent, name, inputs)
    with ExitStack() as stack:

        def begin() -> bool:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder, waiting=True))
            return (folder / RECORD).exists()

        if once(begin):
            return _read_record(folder)
        interrupted = folder / "seconds"  # of attempts that were cut short
        seconds = _read_seconds(interrupted)
        started = time.perf_counter()
        try:
            outputs = dict(work(folder) or {})
        except BaseException:
            with suppress(OSError):  # a full disk has an error of its own
                write_text_atomically(interrupted, str(seconds + n_processes * (time.perf_counter() - started)))
            raise
        seconds += n_processes * (time.perf_counter() - started)

        def end() -> None:
            documents = {path.relative_to(folder).as_posix(): sha256_of(path) for path in _documents(folder)}
            STAGE.write(folder / RECORD, StageRecord(dict(inputs), outputs, round(seconds, 1), documents))
            interrupted.unlink(missing_ok=True)

        once(end)
    return _read_record(folder)


def read_finished_stage(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> FinishedStage:
    """Return the record of a finished stage; a `StageRunner` that never calls `work`.

    Raises:
        UnfinishedError: if the stage is not finished.
        ValueError: where its record, or a document that it names, is damaged.
    """
    folder = stage_folder(parent, name, inputs)
    if not (folder / RECORD).exists():
        raise UnfinishedError(name)
    return _read_record(folder)


def stage_folder(parent: Path, name: str, inputs: Mapping[str, Any]) -> Path:
    """Return the folder of the stage with these inputs."""
    return parent / f"{name}-{digest_json(inputs)[:10]}"


def require_stage_folder(parent: Path, results: tuple[str, ...]) -> None:
    """Check that stages may lie below a folder, and files `results` in it: a new or empty one, or one with stages.

    Raises:
        ValueError: naming what else it holds.
    """
    for name in results:
        require_replaceable(parent / name)
    depths = ("*", "*/*", "*/*/*")
    require_own_folder(
        parent,
        lambda: (
            any(is_product(parent / name) for name in results)
            or any(STAGE_NAME.fullmatch(path.name) and path.is_dir() for depth in depths for path in parent.glob(depth))
        ),
    )


def slug(name: str) -> str:
    """Return a name in lower case, in which everything but letters, digits and full stops is an underscore."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")


def _read_record(folder: Path) -> FinishedStage:
    record = verify_stage(folder)
    return FinishedStage(folder, folder.name.rpartition("-")[2], record.outputs, record.seconds)


def verify_stage(folder: Path) -> StageRecord:
    """Read the record of a finished stage, and compare the documents that it names.

    Raises:
        ValueError: naming the file that is damaged or missing.
    """
    record = STAGE.read(folder / RECORD)
    expected = {folder / name: digest for name, digest in record.documents.items()}
    compare_files(expected, REMEDY, f"its SHA-256 is not that of {RECORD}")
    return record


def _documents(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.suffix in DOCUMENTS and path.name != RECORD)
    return sorted(path for path in paths if not path.name.startswith("."))


def _read_seconds(path: Path) -> float:
    """Return the seconds of attempts that were cut short; 0 where they cannot be read: no result depends on them."""
    if not path.exists():
        return 0.0
    try:
        return float(path.read_text())
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s): the time of earlier attempts is not counted", path, error)
        return 0.0
