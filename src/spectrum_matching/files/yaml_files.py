"""Settings as YAML: written resolved, read back strictly, overridden key by key."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter

from .documents import read_bytes
from .names import listed, quoted
from .settings import validate
from .yaml_text import dump_yaml, parse_yaml

Run = TypeVar("Run")


def nearest(word: str, known: list[str]) -> str:
    """Return a hint: the known word nearest to `word`, or one that begins or ends with it, or all known words."""
    close = difflib.get_close_matches(word, known, n=1)
    close += [each for each in known if f"_{each}_".startswith(f"_{word}_") or each.endswith(f"_{word}")]
    return f"did you mean {quoted(close[0])}?" if close else f"known are {listed(known)}"


def to_yaml(run: Any, brief: bool = False) -> str:
    """Return the text of settings; brief: without those that are None, which is what they are by default."""
    # Through JSON types: YAML would write tuples as Python objects.
    plain = TypeAdapter(type(run)).dump_python(run, mode="json", exclude_none=brief)
    return dump_yaml(plain)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the YAML mapping in a file.

    Raises:
        ValueError: naming the file, where it holds anything else.
    """
    content = read_bytes(path)
    try:
        mapping = parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the run in {path}: it is not UTF-8 text; check the path") from error
    except ValueError as error:
        raise ValueError(f"cannot read the run in {path}: {error}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} holds no run: expected keys and values, got {type(mapping).__name__}")
    return mapping


def override(run: Run, mapping: dict[str, Any], source: str) -> Run:
    """Return the run with the values of a nested mapping.

    Raises:
        ValueError: naming `source`, and the key that is unknown or whose value the run cannot have.
    """
    return validate(run, _merged(run, mapping, source, ""), source)


def _merged(record: Any, mapping: Any, source: str, prefix: str) -> dict[str, Any]:
    """Return the plain values of a record with those of a mapping in their places."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{source}: {prefix.rstrip('.')} is {mapping!r}: expected keys and values")
    values = dataclasses.asdict(record)
    for key, value in mapping.items():
        if key not in values:
            raise ValueError(f"{source}: unknown key {prefix}{key}; {nearest(str(key), list(values))}")
        old, inner = getattr(record, key), f"{prefix}{key}."
        if dataclasses.is_dataclass(old):
            values[key] = _merged(old, value, source, inner)
        elif not isinstance(old, dict):
            values[key] = value
        else:  # records by name, each merged into the old one of its name; the others go
            if not isinstance(value, dict):
                raise ValueError(f"{source}: {prefix}{key} is {value!r}: expected names and records")
            new: Any = get_args(get_type_hints(type(record))[key])[1]
            values[key] = {
                str(name): _merged(old.get(str(name), new()), entry or {}, source, f"{inner}{name}.")
                for name, entry in value.items()
            }
    return values
