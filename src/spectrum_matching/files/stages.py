"""Stages of a long comparison: each in a folder named by the digest of what decides it, and done once.

A stage whose inputs change gets another folder, so that nothing is overwritten; one that a kill cut short goes on in
its own. Two processes that come to the same stage take turns.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import write_text_atomically
from .digests import digest_json

RECORD = "stage.json"


@dataclass(frozen=True)
class Done:
    """A finished stage. outputs: what later stages are decided by.

    seconds: what it took, with those of its attempts that ended by an error or an interrupt, not by a kill.
    """

    folder: Path
    digest: str
    outputs: Mapping[str, Any]
    seconds: float


Work = Callable[[Path], Mapping[str, Any]]
StageRunner = Callable[[Path, str, Mapping[str, Any], Work], Done]


def stage(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> Done:
    """The stage's record; `work`, called with the stage's folder, makes it unless it is there.

    inputs: plain values that decide the result. What `work` returns is kept as `outputs`.
    """
    folder = folder_of(parent, name, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        there = read_done(folder)
        if there is not None:
            return there
        spent = folder / "seconds"  # of attempts that were cut short
        before = float(spent.read_text()) if spent.exists() else 0.0
        started = time.perf_counter()
        try:
            outputs = dict(work(folder))
        except BaseException:
            with suppress(OSError):  # a full disk has an error of its own
                spent.write_text(str(before + time.perf_counter() - started))
            raise
        seconds = before + time.perf_counter() - started
        content = {"inputs": inputs, "outputs": outputs, "seconds": round(seconds, 1)}
        write_text_atomically(folder / RECORD, json.dumps(content, indent=1) + "\n")
        spent.unlink(missing_ok=True)
    done = read_done(folder)
    assert done is not None
    return done


class UnfinishedError(Exception):
    """A stage that was to be read has not been run to its end."""


def finished(parent: Path, name: str, inputs: Mapping[str, Any], work: Work) -> Done:
    """As `stage`, but of what is there alone. UnfinishedError where it is not."""
    done = read_done(folder_of(parent, name, inputs))
    if done is None:
        raise UnfinishedError(name)
    return done


def folder_of(parent: Path, name: str, inputs: Mapping[str, Any]) -> Path:
    """Where the stage of these inputs lies."""
    return parent / f"{name}-{digest_json(inputs)[:10]}"


def read_done(folder: Path) -> Done | None:
    """A finished stage's record; None for one that is not finished."""
    path = folder / RECORD
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    return Done(folder, folder.name.rpartition("-")[2], content["outputs"], content["seconds"])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Until the block ends no other process is in it; the lock goes with the process, however it ends."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")
