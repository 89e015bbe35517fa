"""Runs as YAML: written resolved, read back strictly, overridden key by key."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

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
    values = _merged(run, mapping, source, "")
    try:
        return TypeAdapter(type(run)).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
        raise ValueError(f"{source}: {key} is {first['input']!r}: {first['msg'].lower()}") from error


def _merged(record: Any, mapping: Any, source: str, prefix: str) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise ValueError(f"{source}: {prefix.rstrip('.')} is {mapping!r}: expected keys and values")
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    for key, value in mapping.items():
        if key not in values:
            raise ValueError(f"{source}: unknown key {prefix}{key}; {nearest(str(key), list(values))}")
        old = values[key]
        values[key] = _merged(old, value, source, f"{prefix}{key}.") if dataclasses.is_dataclass(old) else value
    return {k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for k, v in values.items()}  # type: ignore[arg-type]


def differences(old: Any, new: Any) -> list[str]:
    """The dotted keys, with both values, in which two runs differ."""

    def flat(record: Any, prefix: str = "") -> dict[str, Any]:
        return {
            key: value
            for name, inner in record.items()
            for key, value in (
                flat(inner, f"{prefix}{name}.").items() if isinstance(inner, dict) else [(prefix + name, inner)]
            )
        }

    before, after = flat(dataclasses.asdict(old)), flat(dataclasses.asdict(new))
    return [f"{key} ({before[key]!r} there, {after[key]!r} now)" for key in before if before[key] != after[key]]
