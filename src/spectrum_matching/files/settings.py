"""Settings as frozen dataclasses, whose annotations constrain their values and say what these decide.

A constraint is pydantic's: `lr: NonNegative = 1e-4`. No number may be NaN or infinite unless its field says
`Field(allow_inf_nan=True)`. A rule says what is not hashed, or may change on resuming:
`workers: Incidental[NonNegativeInt] = 0`.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError


class Rule(Enum):
    """A rule in the annotation of a field; on a field that holds settings, it applies to each of them."""

    NOT_HASHED = "has no effect on the result, or is represented by a digest of what it names"
    CHANGEABLE = "may differ between two commands on one run directory"


Rules = frozenset[Rule]
T = TypeVar("T")
NotHashed = Annotated[T, Rule.NOT_HASHED]
Changeable = Annotated[T, Rule.CHANGEABLE]
Incidental = Annotated[T, Rule.NOT_HASHED, Rule.CHANGEABLE]

LARGEST = 2**63 - 1

NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def validate(record: T, values: dict[str, Any] | None = None, source: str = "") -> T:
    """Return the record, or one of its type with these nested values, checked and converted to the fields' types.

    Raises:
        ValueError: naming `source`, the dotted key, its value and what it must be.
    """
    prefix = f"{source}: " if source else ""
    values = asdict(record) if values is None else values  # type: ignore[call-overload]
    try:
        (checked,) = _adapter(type(record)).validate_python((values,))
    except ValidationError as error:
        key, message = first_problem(error)
        key = key.partition(".")[2]
        raise ValueError(f"{prefix}{key} is {error.errors()[0]['input']!r}: {message}") from error
    for key, problem in _misfits(values, checked):
        raise ValueError(f"{prefix}{key} is {problem}")
    return checked


def _misfits(given: Any, checked: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield what pydantic lets pass: true for 1, and numbers that neither torch nor a file of ours holds."""
    if isinstance(given, bool) and not isinstance(checked, bool):
        yield key, f"{given}: expected {type(checked).__name__}, not a truth value"
    elif isinstance(checked, int) and abs(checked) > LARGEST:
        yield key, f"{checked}: expected a number below 2^63"
    elif isinstance(given, dict):
        for name, value in given.items():
            inner = checked.get(name) if isinstance(checked, dict) else getattr(checked, name, None)
            yield from _misfits(value, inner, f"{key}.{name}".lstrip("."))
    elif isinstance(given, list | tuple) and isinstance(checked, list | tuple):
        for i, (value, inner) in enumerate(zip(given, checked, strict=False)):
            yield from _misfits(value, inner, f"{key}.{i}")


def _adapter(kind: type[T]) -> TypeAdapter[tuple[T]]:
    """Return what checks a record; pydantic takes this option for a tuple of it alone, and passes it on inwards."""
    return TypeAdapter(tuple[kind], config=ConfigDict(allow_inf_nan=False))  # type: ignore[arg-type, valid-type]


def infinite_numbers(record: Any) -> Iterator[tuple[str, float]]:
    """Yield dotted key and value of every number in a value, tuple, mapping or record that is NaN or infinite."""
    for key, value, _ in flat_settings(record):
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                yield key, number


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the dotted key of the first value that does not fit, and what it must be."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    message = first["msg"].replace("Input should be", "must be")
    return key, message[0].lower() + message[1:]


def explain_problem(error: ValidationError) -> str:
    """Return the first value that does not fit as one phrase: "key: what it must be"."""
    return ": ".join(filter(None, first_problem(error)))


def flat_settings(record: Any, prefix: str = "", rules: Rules = frozenset()) -> Iterator[tuple[str, Any, Rules]]:
    """Yield dotted key, value and rules of every setting of a record, with those of nested records and mappings."""
    if isinstance(record, dict):
        for name, value in record.items():
            yield from flat_settings(value, f"{prefix}{name}.", rules)
    elif is_dataclass(record):
        hints = get_type_hints(type(record), include_extras=True)
        for field in fields(record):
            marks = {mark for mark in getattr(hints[field.name], "__metadata__", ()) if isinstance(mark, Rule)}
            yield from flat_settings(getattr(record, field.name), f"{prefix}{field.name}.", rules | marks)
    else:
        yield prefix.removesuffix("."), record, rules


def hashed_settings(record: Any) -> dict[str, Any]:
    """Return the settings that decide a result, by dotted key: those which a digest has to cover."""
    return {key: value for key, value, rules in flat_settings(record) if Rule.NOT_HASHED not in rules}


def differences(old: Any, new: Any, ignore: Rule | None = None) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two records differ, as (old, new) by dotted key.

    Settings of the rule `ignore` are left out.
    """
    before, after = (
        {key: value for key, value, rules in flat_settings(record) if ignore not in rules} for record in (old, new)
    )
    keys = {**before, **after}
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def as_line(changes: dict[str, tuple[Any, Any]]) -> str:
    """Return `differences` between a stored and a new record as one line."""
    return ", ".join(f"{key} ({before!r} there, {now!r} now)" for key, (before, now) in changes.items())
