"""Atomic writes: a file or folder is there whole, or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from safetensors import SafetensorError


def require_writable(folder: Path) -> None:
    """Make the folder, and write to it; ValueError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Say in one line that a write failed."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
        why = " ".join(str(error).split())
        raise ValueError(f"cannot write {what}: {why}; make room, then the same command goes on") from error


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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
