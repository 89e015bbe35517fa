"""Objects from a user's Python file, named as "python:FILE.py:FACTORY"."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch

PREFIX = "python:"


def from_file(source: str) -> Any:
    """Run the file of "python:FILE.py:FACTORY" and return what its factory returns, called without arguments.

    The file's folder is on the import path meanwhile.

    Raises:
        ValueError: if there is no such file or function, and for whatever they raise.
    """
    name, _, factory_name = source.removeprefix(PREFIX).rpartition(":")
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
        if not callable(factory):
            raise ValueError(f"{path} has no function {factory_name!r}: define it, without arguments that it needs")
        with explain_user_errors(f"{factory_name}() in {path} fails"):
            return factory()
    finally:
        sys.path.remove(folder)


@contextmanager
def explain_user_errors(what: str) -> Iterator[None]:
    """Turn what a user's code raises, out of memory apart, into a ValueError of one line that starts with `what`."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (Exception, SystemExit) as error:
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"{what} ({type(error).__name__}: {first})") from error
