"""What lies under the name of an output: what specmatch wrote may be replaced, anything else is kept."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .atomic import TEMPORARY
from .regular import open_regular

FORMAT = re.compile(rb'"format":\s*"specmatch-')
GENERATOR = b'<meta name="generator" content="specmatch">'
BEGINNING = 4096  # bytes in which a document says its format, and a page its generator
METADATA = "specmatch"  # what we say of a safetensors file, by its key in the file's own metadata
LONGEST_HEADER = 100 << 20  # bytes, of safetensors
LOCK = re.compile(r"(\..+)?\.lock")
PLACEHOLDERS = {".gitkeep", ".gitignore", ".DS_Store", "lost+found"}


def is_product(path: Path) -> bool:
    """Return whether a file is one that specmatch wrote: a JSON document, a page, a reference, a run.yaml."""
    try:
        with open_regular(path) as stream:
            if path.name == "run.yaml":
                return True
            if path.suffix == ".json":
                return FORMAT.search(stream.read(BEGINNING)) is not None
            if path.suffix == ".html":
                return GENERATOR in stream.read(BEGINNING)
            if path.suffix == ".safetensors":
                length = int.from_bytes(stream.read(8), "little")
                return length < LONGEST_HEADER and METADATA in json.loads(stream.read(length))["__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return False


def require_replaceable(path: Path, overwrite: bool | None = None) -> None:
    """Check that a file may be written under this name.

    overwrite: also where another file has it; None: the command has no such option.

    Raises:
        ValueError: where a folder has it, or a file that specmatch did not write.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected the name of a file; choose another --out")
    if path.exists() and not overwrite and not is_product(path):
        remedy = "" if overwrite is None else ", or --overwrite"
        raise ValueError(f"{path} exists and was not written by specmatch: choose another --out{remedy}")


def require_result_folder(folder: Path, names: tuple[str, ...], overwrite: bool = False) -> None:
    """Check that the files `names` may be written into a folder: a new or empty one, or one with results in it.

    overwrite: in any folder, and over any file.

    Raises:
        ValueError: otherwise.
    """
    for name in names:
        require_replaceable(folder / name, overwrite)
    if not overwrite:
        require_own_folder(folder, lambda: any(map(is_product, _entries(folder))), " (or take --overwrite)")


def require_own_folder(folder: Path, is_ours: Callable[[], bool], remedy: str = "") -> None:
    """Check that a folder is new, empty, or one of ours.

    Raises:
        ValueError: naming something that it holds.
    """
    if (path := first_content(folder)) is not None and not is_ours():
        raise ValueError(
            f"{folder} holds {path.relative_to(folder)} and nothing that specmatch wrote: choose another --out{remedy}"
        )


def first_content(folder: Path) -> Path | None:
    """Return something that a folder holds, at any depth; None for folders alone, locks and unfinished files."""
    for path in _entries(folder):
        if not path.is_dir() or path.is_symlink():
            return path
        if (inner := first_content(path)) is not None:
            return inner
    return None


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder, except locks, unfinished files, and what keeps an empty folder in place."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (path.name in PLACEHOLDERS or LOCK.fullmatch(path.name) or TEMPORARY.fullmatch(path.name)):
            yield path
