"""Objects from a user's Python file, named as "python:FILE.py:FACTORY", or "python:FILE.py:FACTORY@FOLDER"."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from ..files.digests import digest_files, digest_lines
from ..files.manifest import MANIFEST
from ..files.os_errors import is_out_of_memory
from ..files.run_folders import RECORD

PREFIX = "python:"
UNREAD = (RECORD, MANIFEST, "README.md")


def require_prefix(source: str) -> None:
    """Raise ValueError for "FILE.py:FACTORY" alone."""
    if re.match(r"(?!python:).+\.py:\w", source):
        raise ValueError(f"{source} names a function in a file: give {PREFIX}{source}")


def from_file(source: str, kinds: tuple[type, ...] = ()) -> Any:
    """Run the file of "python:FILE.py:FACTORY" and return what its factory returns.

    It is called without arguments, or with the folder after "@". The file's folder is on the import path meanwhile.
    kinds: what is of one of these types is returned itself, and not called.

    Raises:
        ValueError: if there is no such file or function, and for whatever they raise.
    """
    name, factory_name, at, folder_name = _divided(source)
    path = Path(name).expanduser()
    if not name or not factory_name.isidentifier():
        raise ValueError(f"{source} names no function: give python:path/to/file.py:factory")
    if not path.is_file():
        raise ValueError(f"no file {path}: give python:path/to/file.py:factory")
    spec = spec_from_file_location(f"own_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with explain_user_errors(f"{path} fails to import"):
            spec.loader.exec_module(module)
        factory = getattr(module, factory_name, None)
        if isinstance(factory, kinds):
            return factory
        if not callable(factory):
            raise ValueError(f"{path} has no function {factory_name!r}: define it, without arguments that it needs")
        with explain_user_errors(f"{factory_name}({folder_name}) in {path} fails"):
            return factory(Path(folder_name).expanduser()) if at else factory()
    finally:
        sys.path.remove(folder)


def digest_source(source: str) -> str:
    """Return the digest of what "python:FILE.py:FACTORY@FOLDER" names: the file, the factory and the folder's files.

    What the file imports, and what it reads elsewhere, is not seen, nor files of the folder that are hidden, compiled,
    or say where it is from (`UNREAD`), which a rerun of its training or its author may change.
    """
    name, factory_name, at, folder_name = _divided(source)
    lines = [digest_files([Path(name).expanduser()]), factory_name]
    folder = Path(folder_name).expanduser()
    for path in sorted(folder.rglob("*")) if at else ():
        inside = path.relative_to(folder)
        is_hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
        if path.is_file() and not is_hidden and path.name not in UNREAD:
            lines.append(f"{inside} {digest_files([path])}")
    return digest_lines(lines)


def _divided(source: str) -> tuple[str, str, str, str]:
    """Return the file, the factory, "@" or "", and the folder of "python:FILE.py:FACTORY@FOLDER"."""
    whole, at, folder_name = source.removeprefix(PREFIX).partition("@")
    name, _, factory_name = whole.rpartition(":")
    return name, factory_name, at, folder_name


@contextmanager
def explain_user_errors(what: str) -> Iterator[None]:
    """Turn what a user's code raises, out of memory apart, into a ValueError of one line that starts with `what`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"{what} ({type(error).__name__}: {first})") from error
