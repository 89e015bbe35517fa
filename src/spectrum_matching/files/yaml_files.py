"""Runs as YAML: written resolved, read back strictly, overridden key by key."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter

from .settings import record_of

Run = TypeVar("Run")


def nearest(word: str, known: list[str]) -> str:
    """A hint naming the known words nearest to `word` first."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def to_yaml(run: Any) -> str:
    """The resolved run."""
    # Through JSON types: YAML would write tuples as Python objects.
    plain = TypeAdapter(type(run)).dump_python(run, mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def read_mapping(path: Path) -> dict[str, Any]:
    """The YAML mapping in a file; ValueError naming the file if it holds anything else."""
    try:
        mapping = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the run in {path}: {' '.join(str(error).split())}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} holds no run: expected keys and values, got {type(mapping).__name__}")
    return mapping


def override(run: Run, mapping: dict[str, Any], source: str) -> Run:
    """`run` with the values of a nested mapping; ValueError naming `source` and the key that is unknown or mistyped."""
    return record_of(type(run), _merged(run, mapping, source, ""), source)


def _merged(record: Any, mapping: Any, source: str, prefix: str) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise ValueError(f"{source}: {prefix.rstrip('.')} is {mapping!r}: expected keys and values")
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    for key, value in mapping.items():
        if key not in values:
            raise ValueError(f"{source}: unknown key {prefix}{key}; {nearest(str(key), list(values))}")
        old = values[key]
        if dataclasses.is_dataclass(old):
            values[key] = _merged(old, value, source, f"{prefix}{key}.")
        elif isinstance(old, dict):
            values[key] = _merged_entries(old, _entry_type(record, key), value, source, f"{prefix}{key}")
        else:
            values[key] = value
    return {key: _plain(value) for key, value in values.items()}


def _merged_entries(old: dict[str, Any], kind: type, mapping: Any, source: str, prefix: str) -> dict[str, Any]:
    """Records by name: those that the mapping names, each merged into the one of its name."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{source}: {prefix} is {mapping!r}: expected names and what each stands for")
    return {
        str(name): _merged(old.get(str(name), kind()), value or {}, source, f"{prefix}.{name}.")
        for name, value in mapping.items()
    }


def _entry_type(record: Any, key: str) -> type:
    kind: type = get_args(get_type_hints(type(record))[key])[1]
    return kind


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
