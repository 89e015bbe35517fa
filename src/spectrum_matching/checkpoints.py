"""Checkpoints that a kill or a full disk cannot spoil: written aside, flushed to the disk, renamed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from .files.atomic import remove, write_aside

WIDTH = 7


def latest(folder: Path) -> Path | None:
    """The complete checkpoint of the largest step in a folder, if there is one."""
    return max(_complete(folder), key=lambda path: int(path.name), default=None)


def save(folder: Path, step: int, write: Callable[[Path], None], keep_last: int, keep_every: int) -> Path:
    """Write a step's checkpoint, then drop all but the newest `keep_last` and those at multiples of `keep_every`."""
    target = folder / f"{step:0{WIDTH}d}"
    write_aside(target, write)
    for leftover in (*folder.glob(".*.writing"), *folder.glob(".*.removing")):  # of a run that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    older = sorted(_complete(folder), key=lambda path: int(path.name))[: -max(keep_last, 1)]
    for path in older:
        if not keep_every or int(path.name) % keep_every:
            remove(path)
    return target


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit()] if folder.is_dir() else []
