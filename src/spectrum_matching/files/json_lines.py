"""Files of one JSON object a line, to which a run appends: a damaged line does not affect the others."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .atomic import explain_write_errors, open_atomically
from .documents import read_bytes

Line = dict[str, Any]

N_NAMED = 5  # damaged lines that a message names

log = logging.getLogger(__name__)


def read_json_lines(path: Path, **types: type) -> list[Line]:
    """Return the objects of all good lines, none where there is no file; name the damaged lines in a warning.

    types: what every line holds, by key; a line without is damaged.

    Raises:
        ValueError: where the file cannot be read.
    """
    return [line for line, _ in _good_lines(path, types)]


def keep_json_lines(path: Path, keep: Callable[[Line], bool] = lambda line: True, **types: type) -> list[Line]:
    """Return the good lines as `read_json_lines` does, and delete from the file those that are damaged or not kept.

    Raises:
        ValueError: where the file cannot be read or written.
    """
    kept = [(line, raw) for line, raw in _good_lines(path, types) if keep(line)]
    content = b"".join(raw + b"\n" for _, raw in kept)
    if path.exists() and content != read_bytes(path):
        with explain_write_errors(str(path)), open_atomically(path) as stream:
            stream.write(content)
    return [line for line, _ in kept]


def append_json_line(path: Path, line: Line) -> None:
    """Append a line.

    Raises:
        ValueError: where it cannot be written.
    """
    with explain_write_errors(str(path)), path.open("ab") as stream:
        stream.write(json.dumps(line).encode() + b"\n")


def require_good_lines(path: Path, **types: type) -> None:
    """Check all lines.

    Raises:
        ValueError: naming those that are damaged.
    """
    if damaged := _read(path, types)[1]:
        raise ValueError(f"{path}: {damaged}")


def _good_lines(path: Path, types: dict[str, type]) -> list[tuple[Line, bytes]]:
    """Return the objects and bytes of the good lines, having named the others."""
    good, damaged = _read(path, types)
    if damaged:
        log.warning("%s: %s and left out", path, damaged)
    return good


def _read(path: Path, types: dict[str, type]) -> tuple[list[tuple[Line, bytes]], str]:
    """Return the objects and bytes of the good lines, and which are damaged."""
    content = read_bytes(path) if path.exists() else b""
    good, damaged = [], []
    for number, raw in enumerate(content.removesuffix(b"\n").split(b"\n") if content else (), 1):
        if (line := _parse(raw, types)) is None:
            damaged.append(number)
        else:
            good.append((line, raw))
    numbers = ", ".join(map(str, damaged[:N_NAMED])) + (", …" if len(damaged) > N_NAMED else "")
    what = f"line {numbers} is" if len(damaged) == 1 else f"{len(damaged)} lines ({numbers}) are"
    return good, f"{what} damaged" if damaged else ""


def _parse(raw: bytes, types: dict[str, type]) -> Line | None:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in types.items())
    return line if whole else None
