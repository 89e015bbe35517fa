"""Checkpoints that a kill or a full disk cannot spoil: written aside, flushed to the disk, renamed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

WIDTH = 7


def write_aside(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `target`, then rename it to `target`, replacing what is there.

    At no moment is `target` half written. OSError, for instance a full disk, leaves it as it was.
    """
    aside = target.with_name(f".{target.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        for path in (*aside.rglob("*"), aside):
            _flush(path)
        if target.exists():
            remove(target)
        aside.rename(target)
        _flush(target.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def write_text_aside(target: Path, text: str) -> None:
    """The same for one text file."""
    aside = target.with_name(f".{target.name}.writing")
    try:
        aside.write_text(text)
        _flush(aside)
        aside.replace(target)
        _flush(target.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def remove(folder: Path) -> None:
    """Remove a folder under another name, so that a kill midway leaves no half of it under its own."""
    doomed = folder.with_name(f".{folder.name}.removing")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
